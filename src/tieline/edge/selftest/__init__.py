"""The self-test model that ships with the package: a tiny llama as GGUF, so that inference is real from the start.

It proves the path from a prompt to billed tokens and is no product. Knows nothing of the engine that serves it.
How it was made and measured: `model/README.md` in the source tree, and `CARD.md` beside the file.
"""

from pathlib import Path

SELFTEST_MODEL: Path = Path(__file__).with_name("tieline-selftest.gguf")
SELFTEST_NAME = "tieline-selftest"
SELFTEST_LABEL = (
    "Self-test model of about 3 million parameters: its tokens are real, it proves the path, and it is not a product."
)
