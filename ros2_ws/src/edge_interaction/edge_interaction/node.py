"""The lifecycle node: declares in `__init__`, acquires in configure, ticks in active, releases in
cleanup, and stops safely on error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from edge_interaction import mapping, parameters
from edge_interaction.hri import HriWire
from edge_interaction.runtime import Runtime
from edge_interaction.senses import Subscriptions, whence
from edge_interaction.services import Services
from edge_interaction.status import Status, node_part
from edge_interaction.transitions import logged, refuse_impossible_ones
from edge_interaction.wire import RosWire
from edge_runtime.config import Config
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.every import Every
from edge_runtime.health import Health, HealthMonitor
from edge_runtime.remote_control import Mode, RemoteControl
from edge_runtime.senses import gain_of, topic_senses_for
from edge_runtime.sinks import topics
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.messages import Publication, TurnMessages, action_topics
from edge_runtime.sinks.topics_sink import TopicsSink, Wire
from edge_runtime.sources.ros_topics import StampClock

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR
AUTOSTART = "autostart"
TELL_EVERY_S = 1.0
"""REP-107: /diagnostics at 1 Hz."""
UNCONFIGURED, CONFIGURING, INACTIVE = "unconfigured", "configuring", "inactive"
ACTIVE, DEACTIVATING, FINALIZED = "active", "deactivating", "finalized"
TABLE = [topic for topic in topics.PUBLISHED if topic is not topics.DIAGNOSTICS]


class InteractionNode(LifecycleNode):
    """Hosts the runtime. Its executor never waits for the loop, but for two seconds at most when it
    is deactivated; the loop never waits for the executor."""

    def __init__(self, **options: Any) -> None:
        super().__init__("edge_interaction", **options)
        refuse_impossible_ones(self)
        self.declare_parameter(
            AUTOSTART,
            False,
            ParameterDescriptor(description="Configure and activate without being told to."),
        )
        self.declare_parameter(
            parameters.INITIAL_MODE,
            Mode.NORMAL.value,
            ParameterDescriptor(
                description="The mode to start in, until set_mode: normal, quiet or standby.",
                read_only=True,
            ),
        )
        about = "A YAML configuration; parameters that are set stand above it."
        self.declare_parameter(parameters.CONFIG_FILE, "", ParameterDescriptor(description=about))
        for key, text in parameters.config_keys().items():
            self.declare_parameter(
                key, None, ParameterDescriptor(description=text, dynamic_typing=True)
            )
        self.add_on_set_parameters_callback(self._on_parameters)
        self._told = RosWire(self, [topics.DIAGNOSTICS, topics.MODE])
        # Steady, so that /diagnostics goes on while a simulation pauses.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TELL_EVERY_S, self._on_second, clock=steady)
        self._state = UNCONFIGURED
        self._status, self._health = Status(), HealthMonitor()
        self._device_name = self.get_name()
        self._control: RemoteControl | None = None
        """From the first configure on, and for good: a mode outlives what it was set for."""
        self._told_mode: Mode | None = None
        self._config: Config | None = None
        self._wire: RosWire | None = None
        self._hri: HriWire | None = None
        self._sink: TopicsSink | None = None
        self._runtime: Runtime | None = None
        self._heard_topics: Subscriptions | None = None
        self._offered_services: Services | None = None
        self.trouble = ""
        """What has failed since it was configured."""
        self.failed = False
        """It was to run by itself, and cannot: the process shall end, for somebody to restart."""
        self.hung = False
        """A loop that hangs could not be released: the process must not wait for it at its end."""

    # -- transitions ----------------------------------------------------------------------

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._state, self.trouble = CONFIGURING, ""
        self._health = HealthMonitor()
        # From a thread: the executor waits for this one, for minutes where a plan is built.
        with Every(TELL_EVERY_S, self._tell, "diagnostics"):
            try:
                self._config = parameters.configuration(self._values())
                self._acquire(self._config)
                self._warn_of_what_does_not_move(self._config)
            except EdgeRuntimeError as error:
                self.get_logger().error(str(error))
                self.trouble = str(error)
                self._release()
                return FAILURE
        self._state = INACTIVE
        return SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._runtime is not None
        self._state = ACTIVE
        self._runtime.start()
        return super().on_activate(state)

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if not self._stop():
            return ERROR
        self._state = INACTIVE
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return SUCCESS

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        self._state = FINALIZED
        return SUCCESS

    @logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The body has been told to stop; nothing is held any more, and one may configure again.
        Where the loop hangs, the node is finalized: only a new process is rid of it."""
        self._stop()
        self._release()
        if self.hung:
            self._state = FINALIZED
            return FAILURE
        return SUCCESS

    # -- for the process ------------------------------------------------------------------

    def start_by_itself(self, stop: Callable[[], bool]) -> None:
        """Configure and activate, where the parameter `autostart` says so, until `stop` does."""
        if not self.get_parameter(AUTOSTART).value:
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if not stop() and transition() != SUCCESS:
                self.failed = True
                return

    def leave(self) -> None:
        """Stop and release whatever the state; the process ends."""
        if self._is_active():
            self.trigger_deactivate()
        self._release()

    # -- inside ---------------------------------------------------------------------------

    def _acquire(self, config: Config) -> None:
        clock = self.get_clock()

        def now_ns() -> int:
            """ROS time: of a simulation where `use_sim_time` says so."""
            return int(clock.now().nanoseconds)

        stamps = StampClock(now_ns)
        senses = topic_senses_for(config, stamps, partial(whence, self))
        if self._control is None:
            self._control = RemoteControl(parameters.initial_mode(self._values()))
        self._device_name = config.device.name
        self._wire = RosWire(self, [*TABLE, *action_topics(config.actions)])
        self._sink = TopicsSink(
            self._with_hri(self._wire, config.device.language),
            TurnMessages(
                config.actions,
                config.ros.frame_id,
                self._mode_of_acting,
                gain_of(config, self._control),
            ),
            wall_ns=now_ns,
        )
        self._runtime = Runtime(config, senses, [self._sink], self._control, self._health)
        self._runtime.acquire()
        self._heard_topics = Subscriptions(self, config, senses, self._sink)
        self._offered_services = Services(self, self._control, self._is_active, self._sink.halt)

    def _warn_of_what_does_not_move(self, config: Config) -> None:
        file = str(self.get_parameter(parameters.CONFIG_FILE).value)
        warning = mapping.warning(config.actions, file, self.resolve_topic_name)
        if warning is not None:
            self.get_logger().warning(warning)

    def _with_hri(self, wire: RosWire, language: str) -> Wire:
        try:
            self._hri = HriWire(self, wire, language)
        except ModuleNotFoundError:
            self.get_logger().debug("hri_msgs is not installed")
            return wire
        return self._hri

    def _release(self) -> None:
        """Everything that configure acquired, and nothing twice."""
        self._state = UNCONFIGURED
        for held in (self._offered_services, self._heard_topics):
            if held is not None:
                held.close()
        if self._runtime is not None:
            self._runtime.release()
            self.hung = self._runtime.hung
        for wire in (self._hri, self._wire):
            if wire is not None:
                wire.close()
        self._offered_services = self._heard_topics = self._runtime = None
        self._hri = self._wire = self._sink = self._config = None

    def _stop(self) -> bool:
        """The body, then the loop; whatever the loop is at, the last word to the body is a stop.
        Returns whether the loop has ended well."""
        if self._runtime is None or self._sink is None:
            return True
        self._state = DEACTIVATING
        self._sink.halt()
        self._runtime.stop()
        if not self._sink.stopping:
            self._sink.halt()
        error = self._runtime.error
        if error is not None:
            self.trouble = str(error) or repr(error)
        return error is None

    def _is_active(self) -> bool:
        return self._state == ACTIVE

    def _mode_of_acting(self) -> Mode:
        """A loop that is to end, or hangs and comes back, moves nothing any more."""
        if self._control is None or not self._is_active():
            return Mode.STANDBY
        return self._control.mode

    def _values(self) -> dict[str, Any]:
        names = [parameters.CONFIG_FILE, parameters.INITIAL_MODE, *parameters.config_keys()]
        return {name: self.get_parameter(name).value for name in names}

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        changed = {change.name: change.value for change in changes}
        reason = parameters.refusal(self._values(), changed, self._config is not None)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def _on_second(self) -> None:
        """Tell how it is, and notice when the loop has ended by itself, or hangs."""
        self._tell()
        if self._is_active() and self._runtime is not None:
            self._runtime.watch()
            if self._runtime.over:
                self._end(self._runtime.error)

    def _tell(self) -> None:
        """On /diagnostics, and on `mode` when it has changed. From any thread."""
        mode = None if self._control is None else self._control.mode
        node = node_part(self._state, "" if mode is None else mode.value, self.trouble)
        at_work = self._state in (CONFIGURING, ACTIVE)
        told = self._status.of(node, self._health.snapshot() if at_work else Health())
        name = self.get_fully_qualified_name().lstrip("/")  # as diagnostic_updater's
        now_ns = int(self.get_clock().now().nanoseconds)
        self._told.write(diagnostics(self._device_name, told, now_ns, name))
        if mode is not None and mode is not self._told_mode:
            self._told_mode = mode
            self._told.write(Publication(topics.MODE.name, topics.MODE.type, {"data": mode.value}))

    def _end(self, error: Exception | None) -> None:
        if error is None:
            self.get_logger().info("the sound has ended")
        self.failed = error is not None and self.get_parameter(AUTOSTART).value
        self.trigger_deactivate()
