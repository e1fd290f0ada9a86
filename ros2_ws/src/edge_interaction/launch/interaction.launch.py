"""The node, configured and activated by itself.

    ros2 launch edge_interaction interaction.launch.py audio:=microphone video:=0
    ros2 launch edge_interaction interaction.launch.py namespace:=robot config:=$PWD/device.yaml

`audio` and `video` say where it hears and sees; `params` is a ROS parameter file, `config` a YAML
configuration of edge_runtime; topics that have other names on the robot are remapped with
`audio_in:=`, or `audio_stamped:=` and `audio_info:=`, `image:=` and `cmd_vel:=`.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("edge_interaction")
ARGUMENTS = {
    "namespace": ("", "Of the node and of its topics."),
    "params": (PathJoinSubstitution([SHARE, "config", "params.yaml"]), "A ROS parameter file."),
    "config": (PathJoinSubstitution([SHARE, "config", "device.yaml"]), "A YAML configuration."),
    "audio": (
        "",
        "Where it hears: microphone (and loudspeaker) of this machine, or ros; default: as params.",
    ),
    "video": (
        "",
        "Where it sees: a camera's number or name, ros, or none; default: as params.",
    ),
    "autostart": ("true", "Configure and activate; false: somebody else does."),
    "respawn": ("true", "Start again, 5 s after it failed."),
    "audio_in": ("audio_in", "The microphone's topic."),
    "audio_stamped": ("audio_stamped", "The same of a driver of audio_common."),
    "audio_info": ("audio_info", "Where that tells its rate, channels and coding."),
    "image": ("image", "The camera's topic."),
    "cmd_vel": ("cmd_vel", "Where the base takes its speeds."),
}
SOURCES = {"audio": "audio.source", "video": "video.source"}
NO_PICTURES = "none"
REMAPPED = ("audio_in", "audio_stamped", "audio_info", "image", "cmd_vel")


def _source(chosen):
    """As a parameter: a number is a camera's, and an empty text leaves it to `config`."""
    if chosen.isdecimal():
        return int(chosen)
    return ParameterValue("" if chosen == NO_PICTURES else chosen, value_type=str)


def _interaction(context):
    """What `audio` and `video` say stands above `params`; where they say nothing, that stays."""
    given = {key: context.launch_configurations[name] for name, key in SOURCES.items()}
    sources = {key: _source(chosen) for key, chosen in given.items() if chosen}
    node = LifecycleNode(
        package="edge_interaction",
        executable="interaction",
        name="edge_interaction",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params"),
            {
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                "config_file": ParameterValue(LaunchConfiguration("config"), value_type=str),
                **sources,
            },
        ],
        remappings=[(name, LaunchConfiguration(name)) for name in REMAPPED]
        + [("image/compressed", [LaunchConfiguration("image"), "/compressed"])],
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=5.0,
        # It may have to end the recogniser in the middle of its work.
        sigterm_timeout="10",
        output="screen",
    )
    return [node]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (default, about) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_interaction)])
