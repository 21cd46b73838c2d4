import pytest

pytest.register_assert_rewrite("tests.oracle", "tests.tiny_runs")  # so that their assertions show what differs
