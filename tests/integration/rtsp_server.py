"""A network camera over RTSP, run by the system's Python, which has GStreamer's server:

    /usr/bin/python3 rtsp_server.py PORT [KEYFRAME_S]

A moving ball as H.264 at rtsp://127.0.0.1:PORT/live, with a keyframe each second or KEYFRAME_S; a
line on stdout when it is ready.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

KEYFRAME_S = int((sys.argv[2:] or ["1"])[0])
PIPELINE = (
    "( videotestsrc is-live=true pattern=ball "
    "! video/x-raw,format=I420,width=160,height=120,framerate=25/1 "
    f"! openh264enc gop-size={25 * KEYFRAME_S} ! h264parse "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)

Gst.init(None)
server = GstRtspServer.RTSPServer(service=sys.argv[1], address="127.0.0.1")
factory = GstRtspServer.RTSPMediaFactory(launch=PIPELINE, shared=True)
server.get_mount_points().add_factory("/live", factory)
if server.attach(None) == 0:
    sys.exit(f"port {sys.argv[1]} is taken")
print("ready", flush=True)
GLib.MainLoop().run()
