"""The node in a conversation with the demonstration's person, all of it through topics.

ros2 launch edge_interaction demo.launch.py
ros2 topic echo /utterance          # in another terminal
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("edge_interaction")


def _end(event, context):
    """With the person, and only once: a second Shutdown would fail."""
    if not context.is_shutdown:
        return [EmitEvent(event=Shutdown(reason="the person has left"))]


def generate_launch_description():
    person = Node(
        package="edge_interaction",
        executable="person",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                "seed": ParameterValue(LaunchConfiguration("seed"), value_type=int),
                "seconds": ParameterValue(LaunchConfiguration("seconds"), value_type=float),
                "audio": ParameterValue(LaunchConfiguration("audio"), value_type=str),
                "video": ParameterValue(LaunchConfiguration("video"), value_type=str),
            }
        ],
        output="screen",
    )
    interaction = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([SHARE, "launch", "interaction.launch.py"])
        ),
        launch_arguments={
            "namespace": LaunchConfiguration("namespace"),
            "respawn": "false",
            "config": "",  # nothing of a demonstration is mapped to the topics of a robot
            # Not this demonstration's recordings: it hears and sees the person.
            "audio": "ros",
            "video": "ros",
        }.items(),
    )
    over = OnProcessExit(target_action=person, on_exit=_end)
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="Of both nodes."),
            DeclareLaunchArgument("seed", default_value="1", description="Another person."),
            DeclareLaunchArgument("seconds", default_value="90.0", description="How long at most."),
            DeclareLaunchArgument("audio", default_value="", description="A recording instead."),
            DeclareLaunchArgument("video", default_value="", description="With its pictures."),
            person,  # first: to what is included `audio` and `video` mean something else
            interaction,
            RegisterEventHandler(over),
        ]
    )
