"""The node, configured and activated by itself.

    ros2 launch edge_interaction interaction.launch.py audio:=microphone video:=0
    ros2 launch edge_interaction interaction.launch.py namespace:=robot config:=$PWD/device.yaml

`audio` and `video` say where it hears and sees; `params` is a ROS parameter file above the node's
own, `config` a YAML configuration of edge_runtime. `loudspeaker:=true` plays `speech_audio` on this
machine. Topics that have other names on the robot are remapped with `audio_in:=`, or
`audio_stamped:=` and `audio_info:=`, `image:=` and `cmd_vel:=`; `image_transport` says which of the
camera's two topics are received.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("edge_interaction")
PARAMS = PathJoinSubstitution([SHARE, "config", "params.yaml"])
ARGUMENTS = {
    "namespace": ("", "Of the node and of its topics."),
    "params": (PARAMS, "A ROS parameter file; it stands above the one that comes with the node."),
    "config": (PathJoinSubstitution([SHARE, "config", "device.yaml"]), "A YAML configuration."),
    "audio": (
        "",
        "Where it hears: microphone (and loudspeaker) of this machine, or ros; default: as params.",
    ),
    "video": (
        "",
        "Where it sees: a camera's number or name, ros, or none; default: as params.",
    ),
    "loudspeaker": ("false", "Play speech_audio here; for sound from topics (audio of ros)."),
    "loudspeaker_device": ("", "A part of its name; default: the system's loudspeaker."),
    "autostart": ("true", "Configure and activate; false: somebody else does."),
    "respawn": ("true", "Start again, 5 s after it failed."),
    "audio_in": ("audio_in", "The microphone's topic."),
    "audio_stamped": ("audio_stamped", "The same of a driver of audio_common."),
    "audio_info": ("audio_info", "Where that tells its rate, channels and coding."),
    "image": ("image", "The camera's topic."),
    "image_transport": ("", "raw, compressed, or both, of that topic; default: as params."),
    "cmd_vel": ("cmd_vel", "Where the base takes its speeds."),
}
CHOICES = {
    "audio": "audio.source",
    "video": "video.source",
    "image_transport": "ros.image_transport",
}
MICROPHONE = "microphone"
REMAPPED = ("audio_in", "audio_stamped", "audio_info", "image", "cmd_vel")


def _choice(chosen):
    """As a parameter: a number is a camera's."""
    return int(chosen) if chosen.isdecimal() else ParameterValue(chosen, value_type=str)


def _refuse_the_second(loudspeaker):
    if loudspeaker.lower() in ("true", "1"):
        raise ValueError(
            f"audio:={MICROPHONE} speaks through a loudspeaker of its own, and loudspeaker:=true "
            "would play everything a second time. Leave one of them out."
        )


def _interaction(context):
    """What CHOICES say stands above `params`; where they say nothing, that stays."""
    if context.launch_configurations["audio"] == MICROPHONE:
        _refuse_the_second(context.launch_configurations["loudspeaker"])
    given = {key: context.launch_configurations[name] for name, key in CHOICES.items()}
    choices = {key: _choice(chosen) for key, chosen in given.items() if chosen}
    node = LifecycleNode(
        package="edge_interaction",
        executable="interaction",
        name="edge_interaction",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            PARAMS,  # a file of one's own that is silent about `audio.source` still hears topics
            LaunchConfiguration("params"),
            {
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                "config_file": ParameterValue(LaunchConfiguration("config"), value_type=str),
                **choices,
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
    loudspeaker = Node(
        package="edge_interaction",
        executable="loudspeaker",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                "output_device": ParameterValue(
                    LaunchConfiguration("loudspeaker_device"), value_type=str
                )
            }
        ],
        condition=IfCondition(LaunchConfiguration("loudspeaker")),
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=5.0,
        output="screen",
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (default, about) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_interaction), loudspeaker])
