"""Python runs this at its start where the stand-in is on PYTHONPATH: it gives the library life."""

import os

import callbacks

if os.environ.get("STAND_IN_LIBRARY"):
    callbacks.install(os.environ["STAND_IN_LIBRARY"])
