"""What comes before the first import of the tests' own modules."""

import pytest

pytest.register_assert_rewrite("support")  # a failed assert of theirs shows what it compared
