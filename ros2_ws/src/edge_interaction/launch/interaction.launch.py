"""The node, configured and activated by itself.

    ros2 launch edge_interaction interaction.launch.py namespace:=robot config:=device.yaml

`params` is a ROS parameter file, `config` a YAML configuration of edge_runtime; topics that have
other names on the robot are remapped with `audio_in:=`, or `audio_stamped:=` and `audio_info:=`,
`image:=` and `cmd_vel:=`.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("edge_interaction")
ARGUMENTS = {
    "namespace": ("", "Of the node and of its topics."),
    "params": (PathJoinSubstitution([SHARE, "config", "params.yaml"]), "A ROS parameter file."),
    "config": (PathJoinSubstitution([SHARE, "config", "device.yaml"]), "A YAML configuration."),
    "autostart": ("true", "Configure and activate; false: somebody else does."),
    "respawn": ("true", "Start again, 5 s after it failed."),
    "audio_in": ("audio_in", "The microphone's topic."),
    "audio_stamped": ("audio_stamped", "The same of a driver of audio_common."),
    "audio_info": ("audio_info", "Where that tells its rate, channels and coding."),
    "image": ("image", "The camera's topic."),
    "cmd_vel": ("cmd_vel", "Where the base takes its speeds."),
}
REMAPPED = ("audio_in", "audio_stamped", "audio_info", "image", "cmd_vel")


def generate_launch_description():
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
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (default, about) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, node])
