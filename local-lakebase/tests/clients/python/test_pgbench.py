"""pgbench: its tables, its transactions, and its sums, over connections that stay and over ones that come and go."""
import re, subprocess

import pytest


def pgbench(place, *args):
    done = subprocess.run(["pgbench", *args], env=place.env(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def filled(module_place):
    """One branch with pgbench's tables for the whole file."""
    pgbench(module_place, "--initialize", "--quiet", "--scale=2", "--foreign-keys")
    return module_place


def sums(place):
    return place.sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), "
                     "(SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)")


def test_its_tables_are_filled(filled):
    assert filled.sql("SELECT count(*), count(DISTINCT bid) FROM pgbench_accounts") == "200000|2"


@pytest.mark.parametrize("how, each", [
    (["--protocol=simple"], 100), (["--protocol=prepared", "--jobs=2"], 100), (["--connect"], 10)])
def test_sums_agree_after_its_transactions(filled, how, each):
    before = int(filled.sql("SELECT count(*) FROM pgbench_history"))
    said = pgbench(filled, "--no-vacuum", "--client=4", f"--transactions={each}", *how)
    assert f"number of transactions actually processed: {4 * each}/{4 * each}" in said, said
    assert re.search(r"number of failed transactions: 0 ", said), said
    assert int(filled.sql("SELECT count(*) FROM pgbench_history")) == before + 4 * each
    accounts, tellers, branches, history = sums(filled).split("|")
    assert accounts == tellers == branches == history


def test_its_queries_alone(filled):
    said = pgbench(filled, "--select-only", "--no-vacuum", "--client=4", "--transactions=200")
    assert "number of transactions actually processed: 800/800" in said, said
