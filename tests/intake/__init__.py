"""Tests of intake; a failed check of a study database shows what came instead."""

import pytest

pytest.register_assert_rewrite("tests.intake.databases")
