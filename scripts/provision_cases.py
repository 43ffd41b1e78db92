"""What is proved, case by case: each does something to doors, looks, and adds lines to the report."""

import json
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from provision_doors import Proof, counted, details, statuses, timed
from provision_lab import PASSWORD, Machine, now, run, within

from fleet.cli import FILES
from fleet.on_device.staging import NAMESPACE
from pibox.releases import derived

MINUTE_S = 60.0


def bare_to_green(proof: Proof, good: Mapping[str, str], bad: Mapping[str, str]) -> None:
    """All doors at once, those that cannot be among them; then again."""
    inventory = proof.inventory({**good, **bad})
    refused, _ = timed(lambda: proof.fleet("plan", inventory))
    proof.note(
        "unknown host keys",
        counted(refused),
        good=set(statuses(refused).values()) == {"unreachable"} and "host key" in details(refused, next(iter(good))),
        seconds=0,
    )
    trusted, seconds = timed(lambda: proof.fleet("trust", inventory, "--accept"))
    proof.note("trust", trusted["said"].strip().splitlines()[-1], good="fingerprint" not in trusted, seconds=seconds)
    plan, seconds = timed(lambda: proof.fleet("plan", inventory))
    would = [name for name, status in statuses(plan).items() if status == "would change"]
    proof.note("plan", counted(plan), good=set(good) <= set(would), seconds=seconds)
    applied, seconds = timed(lambda: proof.fleet("apply", inventory))
    found = statuses(applied)
    (proof.folder / "apply.json").write_text(json.dumps(applied, indent=1), encoding="utf-8")
    proof.note(
        f"bare to green, {len(good)} doors at once",
        counted(applied),
        good=all(found[name] == "changed" and proof.release(name).endswith(" active") for name in good),
        seconds=seconds,
    )
    for name in bad:
        proof.note(f"  {name}", details(applied, name), good=found[name] in {"failed", "unreachable"}, seconds=0)
    within(MINUTE_S, lambda: all(map(proof.came_in, good)), "every door is let in by the broker")
    proof.note("  the broker let in, by certificate", f"{len(good)} doors", good=True, seconds=0)
    before = {name: proof.state(name) for name in good}
    again, seconds = timed(lambda: proof.fleet("apply", proof.inventory(good)))
    unchanged = [name for name in good if proof.state(name) == before[name]]
    proof.note(
        "apply again",
        f"{counted(again)}; {len(unchanged)} with every file and the process as before",
        good=set(statuses(again).values()) == {"green"} and len(unchanged) == len(good),
        seconds=seconds,
    )


def bad_update(proof: Proof, doors: Mapping[str, str], release: Path, what: str) -> None:
    """An update that does not serve: the first door undoes it, the others are not touched."""
    inventory = proof.inventory(doors)
    first = next(iter(doors))
    before, kept = proof.release(first), proof.outbox(first)
    report, seconds = timed(lambda: proof.fleet("update", inventory, release=release))
    found = statuses(report)
    why = details(report, first)
    within_s = float(why.rsplit("(", 1)[-1].split(" s")[0])
    others = [found[name] for name in doors if name != first]
    good = found[first] == "rolled back" and within_s < MINUTE_S and set(others) <= {"skipped"}
    proof.note(what, f"{counted(report)}; {why[-160:]}", good=good, seconds=seconds)
    same = (proof.release(first), proof.outbox(first)) == (before, kept)
    proof.note("  release, configuration, outbox", "as before" if same else "DIFFERENT", good=same, seconds=within_s)


def good_update(proof: Proof, doors: Mapping[str, str], release: Path) -> None:
    """In batches, then back."""
    inventory = proof.inventory(doors)
    first = next(iter(doors))
    before, kept = proof.release(first), proof.outbox(first)
    report, seconds = timed(lambda: proof.fleet("update", inventory, release=release))
    good = set(statuses(report).values()) == {"changed"} and proof.release(first) != before
    proof.note("update in batches (1, a tenth, the rest)", counted(report), good=good, seconds=seconds)
    report, seconds = timed(lambda: proof.fleet("rollback", inventory))
    good = set(statuses(report).values()) == {"changed"} and proof.release(first) == before
    same = proof.outbox(first) == kept
    proof.note("rollback", f"{counted(report)}; outbox and configuration {'as before' if same else 'DIFFERENT'}",
               good=good and same, seconds=seconds)  # fmt: skip


def cut_connection(proof: Proof, name: str, address: str, release: Path) -> None:
    """While files are sent, and again while the door changes: it finishes by itself, and apply goes on."""
    machine, inventory = proof.machine(name), proof.inventory({name: address})
    for moment, wait in (("while sending", sending), ("while changing", changing)):
        began = now()
        process = proof.start("apply", inventory, release=release)
        threading.Thread(target=process.communicate, args=(f"{PASSWORD}\n",), daemon=True).start()
        within(MINUTE_S * 5, partial(wait, machine), moment)
        machine.plug(connected=False)
        process.wait(MINUTE_S)
        machine.plug(connected=True)
        proof.note(f"connection cut {moment}", f"kiosk-fleet ends with {process.returncode}",
                   good=process.returncode == 1, seconds=now() - began)  # fmt: skip
    within(MINUTE_S * 2, lambda: settled(machine), "the door finishes its change")
    alone = proof.release(name)
    green = {name: "green"}
    within(MINUTE_S * 2, lambda: statuses(proof.fleet("doctor", inventory)) == green, "the door finds its broker again")
    report, seconds = timed(lambda: proof.fleet("apply", inventory, release=release))
    good = statuses(report) == green and alone == proof.release(name) and alone.endswith("-third active")
    proof.note("  the door finished alone; apply again", counted(report), good=good, seconds=seconds)


def sending(machine: Machine) -> bool:
    """Whether half a release is under way."""
    return any(machine.at("/home/pi/.kiosk-fleet").glob("*.part"))


def changing(machine: Machine) -> bool:
    """Whether the change is under way."""
    return machine.at("/opt/kiosk/change/before").is_dir()


def settled(machine: Machine) -> bool:
    """Whether no change is under way."""
    states = machine.run("systemctl", "is-active", "kiosk-update")
    return not changing(machine) and "activating" not in states


def cut_power(proof: Proof, name: str, address: str, release: Path) -> None:
    """In the middle of a change."""
    machine, inventory = proof.machine(name), proof.inventory({name: address})
    before, kept = proof.release(name), proof.outbox(name)
    process = proof.start("apply", inventory, release=release)
    threading.Thread(target=process.communicate, args=(f"{PASSWORD}\n",), daemon=True).start()
    within(MINUTE_S * 5, lambda: changing(machine), "the change begins")
    within(MINUTE_S, lambda: proof.release(name).split()[0] != before.split()[0], "the new release is current")
    machine.cut_power()
    process.wait(MINUTE_S)
    began = now()
    machine.start()
    within(MINUTE_S, lambda: proof.release(name) == before, f"{before} serves again")
    seconds = now() - began
    same = proof.outbox(name) == kept
    proof.note("power cut in the middle of a change", f"{before} after the boot; outbox and configuration"
               f" {'as before' if same else 'DIFFERENT'}", good=same, seconds=seconds)  # fmt: skip


def wrong_signature(proof: Proof, name: str, address: str, release: Path) -> None:
    """A release by somebody else, told by the laptop; and, where the laptop believes it, by the door."""
    folder = proof.folder
    other = folder / "other.key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    forged = derived(release, folder, "forged", other)
    inventory = proof.inventory({name: address})
    report = proof.fleet("apply", inventory, release=forged)
    proof.note("a release by another key", str(report["said"]).strip()[-90:], good=report["code"] == FILES, seconds=0)
    words = Path(f"{other}.pub").read_text(encoding="utf-8").split()
    line = f'{NAMESPACE} namespaces="{NAMESPACE}" {words[0]} {words[1]}\n'
    (forged / "release-signers").unlink()
    (forged / "release-signers").write_text(line, encoding="utf-8")
    report = proof.fleet("apply", inventory, release=forged)
    refused = statuses(report) == {name: "failed"}
    proof.note("  the same, signers exchanged too", details(report, name)[:90], good=refused, seconds=0)


def collected(proof: Proof, doors: Mapping[str, str]) -> None:
    """Diagnostics hold nothing secret."""
    out = proof.folder / "collected"
    report, seconds = timed(lambda: proof.fleet("collect", proof.inventory(doors), "--out", str(out)))
    texts = "".join(path.read_text(encoding="utf-8") for path in sorted(out.rglob("*.txt")))
    secret = ("PRIVATE KEY", PASSWORD)
    good = set(statuses(report).values()) == {"green"} and not any(word in texts for word in secret)
    proof.note("collect", f"{len(texts)} characters, no key and no password in them", good=good, seconds=seconds)
