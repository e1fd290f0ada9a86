"""The configuration of a worker: which broker, and what answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from edge_runtime.background.agent_config import AgentConfig
from edge_runtime.config import DelegationConfig


class WorkerConfig(BaseModel):
    """One YAML file; without `agent` the offline skills answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    delegation: DelegationConfig = DelegationConfig()
    agent: AgentConfig | None = None
