"""The mouth: from an utterance to exactly 200 ms of sound a micro-turn."""
