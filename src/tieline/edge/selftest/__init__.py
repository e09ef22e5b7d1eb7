"""The self-test model that ships with the package: a tiny llama as GGUF, so that inference is real from the start.

It proves the path from a prompt to billed tokens and is no product. Knows nothing of the engine that serves it.
How it was made and measured: `model/README.md` in the source tree, and `CARD.md` beside the file.
"""

import hashlib
from pathlib import Path

SELFTEST_MODEL: Path = Path(__file__).with_name("tieline-selftest.gguf")
# What a person who trained it published; a file that differs is not served.
SELFTEST_SHA256 = "d486da74f9d27766849e444b2d1cf3582f01b1df2e1f0bdc44967686d8862f9c"
SELFTEST_NAME = "tieline-selftest"
SELFTEST_LABEL = (
    "Self-test model of about 3 million parameters: its tokens are real, it proves the path, and it is not a product."
)


def damage(path: Path = SELFTEST_MODEL) -> str | None:
    """What is wrong with the file that ships with the package; None where it is what was published."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"the self-test model cannot be read: {error.strerror}; install the package again"
    if digest != SELFTEST_SHA256:
        return f"the self-test model at {path} is not the published one ({digest[:12]}); install the package again"
    return None
