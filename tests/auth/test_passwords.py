"""Passwords of accounts: who is let in, what it costs, and what cannot be found out."""

import asyncio
import gc
import hmac
import os
import pty
import subprocess
import sys
import threading

import argon2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liveman.auth import passwords as module
from liveman.auth.passwords import Passwords, hash_password
from liveman.config import Account, Secret
from liveman.errors import ConfigError, Unavailable

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
CHEAPER = argon2.PasswordHasher(time_cost=1, memory_cost=16, parallelism=1)
HASHED = Account("hashed", Secret(CHEAP.hash("right")))
OTHER = Account("other", Secret(CHEAPER.hash("other's")))
PLAIN = Account("plain", Secret("right"))


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that were computed, as the hash that was compared with."""
    hashes: list[str] = []
    real = module._matches

    def matches(hash: str, encoded: bytes) -> bool:
        hashes.append(hash)
        return real(hash, encoded)

    monkeypatch.setattr(module, "_matches", matches)
    return hashes


class Gate:
    """Hashers wait in their threads until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun: list[bytes] = []

        def matches(hash: str, encoded: bytes) -> bool:
            self.begun.append(encoded)
            assert self.open.wait(20)
            return encoded == b"right"

        monkeypatch.setattr(module, "_matches", matches)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


# Who is let in


@pytest.mark.parametrize("hash_it", [False, True], ids=["plain", "hash"])
@pytest.mark.parametrize(
    "password", ["right", "pässwört 密碼 🔑", "nul \0 inside", "\0", " blanks ", "$ecret", "a" * 1024]
)
async def test_the_right_password_is_right_and_all_near_it_are_wrong(password: str, hash_it: bool) -> None:
    kept = CHEAP.hash(password) if hash_it else password
    async with Passwords([Account("ann", Secret(kept))]) as passwords:
        assert await passwords.verify("ann", password)
        for wrong in (
            password[:-1],
            password + "\0",
            password + "x",
            f"{password.swapcase()}!",
            "",
            f"{kept} ",
        ):
            assert not await passwords.verify("ann", wrong)
        for name in ("", "Ann", "ann\0", "ann ", "bob"):
            assert not await passwords.verify(name, password)


async def test_the_hash_itself_is_no_password() -> None:
    async with Passwords([HASHED]) as passwords:
        assert not await passwords.verify("hashed", HASHED.password.reveal())


async def test_each_account_has_its_own_password() -> None:
    """A name without account is never let in by the hash that its guess is compared with for time's sake."""
    async with Passwords([HASHED, PLAIN, OTHER]) as passwords:
        assert await passwords.verify("hashed", "right")
        assert await passwords.verify("other", "other's")
        assert await passwords.verify("plain", "right")
        assert not await passwords.verify("other", "right")
        assert not await passwords.verify("plain", "other's")
        for number in range(20):
            assert not await passwords.verify(f"nobody {number}", "right")
            assert not await passwords.verify(f"nobody {number}", "other's")


@pytest.mark.parametrize("huge", ["a" * 1025, "ñ" * 513, "a" * 3_000_000])
async def test_a_huge_password_is_wrong_without_any_work(spent: list[str], huge: str) -> None:
    async with Passwords([HASHED, PLAIN]) as passwords:
        assert not await passwords.verify("hashed", huge)
        assert not await passwords.verify("plain", huge)
        assert not await passwords.verify("nobody", huge)
    assert spent == []


async def test_halves_of_surrogate_pairs_are_wrong_passwords_and_names_and_no_errors() -> None:
    """JSON can hold them."""
    async with Passwords([HASHED, PLAIN]) as passwords:
        for name in ("hashed", "plain", "nobody", "\ud800"):
            assert not await passwords.verify(name, "\udfff right")


async def test_without_accounts_nobody_is_let_in() -> None:
    async with Passwords([]) as passwords:
        assert not await passwords.verify("", "")
        assert not await passwords.verify("admin", "admin")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=4), st.data())
def test_only_the_very_name_with_the_very_password_is_let_in(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Also where name and password flow into each other, as ("a", "bc") and ("ab", "c")."""
    accounts = {name: password for name, password in pairs if name and password}
    guess = data.draw(st.sampled_from(pairs) if pairs else st.just(("a", "b")))
    cut = data.draw(st.integers(0, len("".join(guess))))
    name, password = "".join(guess)[:cut], "".join(guess)[cut:]

    async def check() -> None:
        async with Passwords([Account(*pair) for pair in with_secrets(accounts)]) as passwords:
            assert await passwords.verify(name, password) == (accounts.get(name) == password)

    asyncio.run(check())


def with_secrets(accounts: dict[str, str]) -> list[tuple[str, Secret]]:
    return [(name, Secret(password)) for name, password in accounts.items()]


@pytest.mark.parametrize(
    "kept", ["", "a" * 1025, "$2b$12$abc", "$argon2i$v=19$m=8,t=1,p=1$abc$abc", "$argon2id$"]
)
def test_hashes_of_other_kinds_are_a_fault_with_its_place(kept: str) -> None:
    """Also for a host application that makes its configuration in code; the value is not repeated."""
    with pytest.raises(ConfigError) as caught:
        Passwords([PLAIN, Account("ann", Secret(kept)), Account("bob", Secret(kept))])
    assert [fault.path for fault in caught.value.faults] == [
        "auth.accounts[1].password",
        "auth.accounts[2].password",
    ]
    assert not kept or kept not in str(caught.value)


# What it costs


@pytest.mark.parametrize("name", ["hashed", "plain", "nobody", "", "\0"])
async def test_each_wrong_guess_costs_one_hash_whoever_it_is_for(spent: list[str], name: str) -> None:
    async with Passwords([HASHED, PLAIN]) as passwords:
        assert not await passwords.verify(name, "wrong")
    assert spent == [HASHED.password.reveal()]


async def test_an_unknown_name_always_costs_the_same_hash_and_some_cost_each(spent: list[str]) -> None:
    """Accounts may have parameters of their own; a name that costs now one and now another would be unknown."""
    async with Passwords([HASHED, OTHER, PLAIN]) as passwords:
        for number in range(40):
            await passwords.verify(f"nobody {number}", "a")
            await passwords.verify(f"nobody {number}", "b")
            assert spent[-1] == spent[-2]
    assert set(spent) == {HASHED.password.reveal(), OTHER.password.reveal()}


async def test_without_hashes_nothing_is_hashed_for_anyone(spent: list[str]) -> None:
    async with Passwords([PLAIN]) as passwords:
        assert await passwords.verify("plain", "right")
        assert not await passwords.verify("plain", "wrong")
        assert not await passwords.verify("nobody", "right")
    assert spent == []


@pytest.mark.parametrize("name", ["hashed", "plain", "nobody"])
async def test_comparison_is_in_constant_time(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Once for each guess, of digests of one length; argon2's own comparison is in constant time too."""
    compared = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return real(a, b)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    async with Passwords([HASHED, PLAIN]) as passwords:
        for guess in ("wrong", "", "right", "a" * 1024):
            await passwords.verify(name, guess)
    assert compared == [(32, 32)] * 4


def knows(passwords: Passwords, name: str, password: str) -> bool:
    """Without a hash."""
    return passwords._knows(name, passwords._digest(name, password.encode()))


async def test_who_has_shown_the_password_is_known_without_another_hash(spent: list[str]) -> None:
    """HTTP Basic repeats it with each request."""
    async with Passwords([HASHED, OTHER]) as passwords:
        assert not knows(passwords, "hashed", "right")
        for _ in range(100):
            assert await passwords.verify("hashed", "right")
        assert knows(passwords, "hashed", "right")
        assert len(spent) == 1
        assert not knows(passwords, "hashed", "wrong")
        assert not knows(passwords, "other", "right")
        assert not await passwords.verify("hashed", "wrong")
        assert knows(passwords, "hashed", "right"), "a wrong guess makes Liveman forget the right one"
        assert len(spent) == 2


async def test_a_wrong_guess_is_never_known(spent: list[str]) -> None:
    async with Passwords([HASHED]) as passwords:
        for name in ("hashed", "nobody"):
            for _ in range(3):
                assert not await passwords.verify(name, "right" if name == "nobody" else "wrong")
    assert len(spent) == 6


async def test_what_is_known_is_forgotten_soon(monkeypatch: pytest.MonkeyPatch, spent: list[str]) -> None:
    assert module._KNOWN_SECONDS <= 60
    monkeypatch.setattr(module, "_KNOWN_SECONDS", 0.02)
    async with Passwords([HASHED]) as passwords:
        assert await passwords.verify("hashed", "right")
        await until(lambda: not knows(passwords, "hashed", "right"))
        assert await passwords.verify("hashed", "right")
    assert len(spent) == 2


async def test_a_plain_password_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN_SECONDS", 0.0)
    async with Passwords([HASHED, PLAIN]) as passwords:
        assert await passwords.verify("plain", "right")
        assert await passwords.verify("hashed", "right")
        await until(lambda: not knows(passwords, "hashed", "right"))
        assert await passwords.verify("plain", "right")


async def test_the_loop_goes_on_while_passwords_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than two are hashed at once."""
    gate = Gate(monkeypatch)
    async with Passwords([HASHED]) as passwords:
        tries = [asyncio.ensure_future(passwords.verify("hashed", f"{number}")) for number in range(6)]
        await until(lambda: len(gate.begun) == 2)
        await asyncio.sleep(0.02)
        assert len(gate.begun) == 2
        gate.open.set()
        assert await asyncio.gather(*tries) == [False] * 6


async def test_one_guess_that_comes_many_times_at_once_is_hashed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a page of a dashboard does, which is loaded with Basic."""
    gate = Gate(monkeypatch)
    async with Passwords([HASHED]) as passwords:
        tries = [asyncio.ensure_future(passwords.verify("hashed", "right")) for _ in range(100)]
        await until(lambda: gate.begun)
        gate.open.set()
        assert await asyncio.gather(*tries) == [True] * 100
    assert gate.begun == [b"right"]


async def test_guesses_whose_names_and_passwords_flow_into_each_other_are_not_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(monkeypatch)
    gate.open.set()
    async with Passwords([HASHED]) as passwords:
        pairs = [("hashed", "right"), ("hashedr", "ight"), ("hashe", "dright")]
        tries = [asyncio.ensure_future(passwords.verify(*pair)) for pair in pairs]
        assert await asyncio.gather(*tries) == [True, False, False]


async def test_too_many_that_wait_are_refused_at_once_and_told_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(monkeypatch)
    async with Passwords([HASHED, PLAIN]) as passwords:
        tries = [asyncio.ensure_future(passwords.verify("nobody", f"{number}")) for number in range(18)]
        await until(lambda: len(gate.begun) == 2)
        with pytest.raises(Unavailable) as caught:
            await passwords.verify("nobody", "one more")
        assert caught.value.status == 503
        assert caught.value.headers == {"Retry-After": "1"}
        assert await passwords.verify("plain", "right"), "what is known needs no place in the queue"
        gate.open.set()
        await asyncio.gather(*tries)
        assert await passwords.verify("hashed", "right")


async def test_a_client_that_leaves_takes_nobody_s_answer_along(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with Passwords([HASHED]) as passwords:
        leaves, stays = (asyncio.ensure_future(passwords.verify("hashed", "right")) for _ in range(2))
        await until(lambda: gate.begun)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        gate.open.set()
        assert await stays
        assert gate.begun == [b"right"]


async def test_who_still_waits_at_the_end_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with Passwords([HASHED]) as passwords:
        waits = asyncio.ensure_future(passwords.verify("hashed", "right"))
        await until(lambda: gate.begun)
    gate.open.set()
    with pytest.raises(Unavailable):
        await waits


async def test_a_machine_without_memory_for_a_hash_is_no_wrong_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def verify(*_: object) -> bool:
        raise argon2.exceptions.VerificationError("Memory allocation error")

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)
    async with Passwords([HASHED]) as passwords:
        with pytest.raises(Unavailable):
            await passwords.verify("hashed", "right")
    assert "Memory allocation error" in caplog.text


async def test_no_password_is_kept_where_it_could_be_read() -> None:
    """Not in plain text, and not in a repr."""
    async with Passwords([Account("ann", Secret("top" + "secret"))]) as passwords:
        assert await passwords.verify("ann", "topsecret")
        kept = [repr(thing) for thing in gc.get_referents(passwords.__dict__)]
        assert not any("topsecret" in text for text in (*kept, repr(passwords)))


# Hashes that are made


def test_a_hash_is_argon2id_with_the_rfc_s_parameters_and_a_salt_of_its_own() -> None:
    first, second = hash_password("right"), hash_password("right")
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert first != second


@pytest.mark.parametrize("password", ["", "a" * 1025, "ñ" * 513])
def test_what_nobody_could_log_in_with_is_not_hashed(password: str) -> None:
    with pytest.raises(ValueError, match="must"):
        hash_password(password)


COMMAND = [sys.executable, "-m", "liveman", "hash-password"]


def run(given: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], input=given, capture_output=True, timeout=60)


@pytest.mark.parametrize("given", ["pässwört\n", "pässwört", "pässwört\r\n"])
async def test_the_command_prints_a_hash_that_logs_in(given: str) -> None:
    """From standard input, where a script writes it; only the line's end is taken off."""
    done = run(given.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    async with Passwords([Account("ann", Secret(done.stdout.decode().removesuffix("\n")))]) as passwords:
        assert await passwords.verify("ann", "pässwört")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", b"must not be empty"),
        (b"\n", b"must not be empty"),
        (b"one\ntwo\n", b"several lines"),
        (b"\xff\n", b"not UTF-8"),
        (b"a" * 1025, b"at most 1024 bytes"),
        (b"a" * 1_000_000, b"at most 1024 bytes"),
    ],
)
def test_the_command_says_what_is_no_password(given: bytes, said: bytes) -> None:
    done = run(given)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: The password ")
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_the_command_takes_no_password_as_an_argument() -> None:
    """Others could read it in the list of processes and in the shell's history."""
    done = run(b"right", "right")
    assert done.returncode == 2
    assert done.stdout == b""


def test_the_command_asks_twice_at_a_terminal_and_shows_nothing_of_it() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    try:
        for question in (b"Password: ", b"Repeat for confirmation: "):
            while question not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, b"topsecret\n")
        assert process.stdout
        hash = process.stdout.read().decode().strip()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert argon2.PasswordHasher().verify(hash, "topsecret")
    assert b"topsecret" not in shown
