"""The key drive opens with its passphrase alone, and its keys are the same each time.

It is never overwritten.
"""

import pickle
import re
import shutil
import stat

import pytest

from dagster_project.intake.identity.keys import (
    IDENTITY,
    ROOT,
    KeysError,
    create_medium,
    create_throwaway_medium,
    is_throwaway,
    unlock,
    unlock_identity,
)


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    return create_medium(tmp_path_factory.mktemp("medium") / "keys", "correct horse battery")


@pytest.fixture(scope="module")
def keys(medium):
    return unlock(medium, "correct horse battery")


def test_the_medium_gives_the_same_keys_each_time_and_only_with_its_passphrase(medium, keys):
    assert keys == unlock(medium, "correct horse battery")
    assert len({keys.index, keys.uid, keys.date}) == 3
    with pytest.raises(KeysError, match="does not open"):
        unlock(medium, "wrong horse battery")


def test_nothing_of_the_root_lies_in_clear_and_only_the_owner_may_read(medium, keys):
    content = b"".join(path.read_bytes() for path in medium.iterdir())
    assert not any(
        secret in content for secret in (keys.index, keys.uid, keys.date, b"AGE-SECRET-KEY")
    )
    assert stat.S_IMODE(medium.stat().st_mode) == 0o700
    assert {stat.S_IMODE((medium / name).stat().st_mode) for name in (ROOT, IDENTITY)} == {0o600}


def test_what_is_sealed_to_the_recipient_opens_with_the_identity(medium, keys):
    import pyrage

    sealed = pyrage.encrypt(b"Murong", [pyrage.x25519.Recipient.from_str(keys.recipient)])
    identity = pyrage.x25519.Identity.from_str(unlock_identity(medium, "correct horse battery"))
    assert pyrage.decrypt(sealed, [identity]) == b"Murong"


def test_a_medium_is_never_overwritten(medium):
    with pytest.raises(KeysError, match="already holds"):
        create_medium(medium, "another passphrase")


def test_a_short_passphrase_and_an_empty_place_are_refused(tmp_path):
    with pytest.raises(KeysError, match="12 characters"):
        create_medium(tmp_path / "keys", "short")
    with pytest.raises(KeysError, match="lakehouse keys create"):
        unlock(tmp_path / "nowhere")


def test_a_throwaway_medium_needs_no_passphrase_and_says_what_it_is(tmp_path):
    medium = create_throwaway_medium(tmp_path / "keys")
    keys = unlock(medium)
    assert is_throwaway(medium)
    assert keys.throwaway
    assert unlock_identity(medium).startswith("AGE-SECRET-KEY")


def test_keys_travel_to_workers_and_never_show_in_text(tmp_path):
    keys = unlock(create_throwaway_medium(tmp_path / "keys"))
    assert pickle.loads(pickle.dumps(keys)) == keys
    assert not any(repr(secret) in repr(keys) for secret in (keys.index, keys.uid, keys.date))


def test_a_digest_depends_on_key_and_purpose(tmp_path):
    one, other = (unlock(create_throwaway_medium(tmp_path / name)) for name in ("a", "b"))
    assert one.digest("path", "x") == one.digest("path", "x")
    assert len({one.digest("path", "x"), one.digest("file", "x"), other.digest("path", "x")}) == 3


def test_a_medium_that_asks_for_too_much_work_is_no_wrong_passphrase(medium, tmp_path):
    """age refuses so where it misjudges a busy machine; here the work is really too much."""
    heavy = shutil.copytree(medium, tmp_path / "heavy")
    root = heavy / ROOT
    root.write_bytes(re.sub(rb"(-> scrypt \S+) \d+", rb"\1 40", root.read_bytes()))
    with pytest.raises(KeysError, match="too busy or too slow"):
        unlock(heavy, "correct horse battery")
