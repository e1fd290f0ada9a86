"""The program, with a model that decides `come` once a second: a test needs the same every time."""

from __future__ import annotations

from edge_runtime import app, cli
from edge_runtime.micro_turn import Action, Decision, EngineOutput, MicroTurn


class Comes:
    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision:
        actions = (Action("come"),) if turn.index % 5 == 4 else ()
        return Decision(turn.index, "listen", actions=actions)

    def reset(self) -> None: ...


if __name__ == "__main__":
    app.decider_for = lambda config, manifest: Comes()  # type: ignore[assignment, return-value]
    cli.main()
