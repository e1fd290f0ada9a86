"""The configuration of a worker: which broker, and what answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.background.agent_config import AgentConfig
from edge_runtime.config import DelegationConfig


class RecogniserConfig(BaseModel):
    """What turns the sound of a question into text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    engine: Literal["pocketsphinx", "whisper"] = Field(
        "pocketsphinx", description="PocketSphinx needs no model file; whisper understands more."
    )
    model: str = Field(
        "base",
        min_length=1,
        description="Of whisper: a folder with a model in CTranslate2's format, or a name.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where whisper runs.")
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2}$",
        examples=["en"],
        description="For whisper; default: as it sounds.",
    )


class WorkerConfig(BaseModel):
    """One YAML file; without `agent` the offline skills answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    delegation: DelegationConfig = DelegationConfig()
    recogniser: RecogniserConfig = RecogniserConfig()
    agent: AgentConfig | None = Field(
        None, description="A language model that answers; without it the offline skills do."
    )
