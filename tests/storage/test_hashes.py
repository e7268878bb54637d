import pytest

from speechprompt.storage.hashes import sha256_json, share_of


def test_shares_are_even():
    shares = [share_of(f"0/{index}") for index in range(4000)]
    assert 0 <= min(shares) < max(shares) < 1
    assert sum(share < 0.1 for share in shares) == pytest.approx(400, abs=80)


def test_the_order_of_keys_does_not_count():
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})
