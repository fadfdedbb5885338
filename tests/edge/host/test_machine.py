"""The status is parsed from what real machines print; what a machine does not report is None."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.host.machine import (
    THROTTLE_BITS,
    HostStatus,
    Throttling,
    board_model,
    conditions,
    cpu_model,
    cpu_name,
    read_state,
    trouble,
)
from tests.support.waiting import TIMEOUT_S

PI4_64_BIT = (
    "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n"
)
PI4_32_BIT = "model name\t: ARMv7 Processor rev 3 (v7l)\n" + PI4_64_BIT
XEON = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 167\nmodel name\t: Intel(R) Xeon(R) Processor\n"
CALM = HostStatus("performance", 52.0, Throttling(0), 0.1)


FILES = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/temp": "61342\n",
    "proc/loadavg": "1.50 0.18 0.76 2/345 1234\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.1\x00",
    "proc/cpuinfo": PI4_64_BIT,
    "bin/vcgencmd": '#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x20000\n',
}
NOTHING = HostStatus(None, None, None, None)


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Path:
    """Write the files of a machine, with other contents by the file's name, and return its root."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changes.get(path.name, text))
    (folder / "bin/vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
    return folder


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (PI4_64_BIT, "Cortex-A72"),
        (PI4_32_BIT, "Cortex-A72"),
        (PI4_64_BIT.replace("0xd08", "0xd0b"), "Cortex-A76"),
        (PI4_32_BIT.replace("0xd08", "0xfff"), "ARMv7 Processor rev 3 (v7l)"),
        (PI4_64_BIT.replace("0x41", "0x51"), "i9"),  # part numbers of another implementer mean other cores
        (XEON, "Intel(R) Xeon(R) Processor"),
        ("", "i9"),
    ],
)
def test_a_processor_has_its_usual_name(
    cpuinfo: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "i9")
    assert cpu_model(machine(tmp_path, monkeypatch, cpuinfo=cpuinfo)) == name


def test_the_status_is_read_from_linux_and_the_firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, monkeypatch)
    assert read_state(root, firmware_timeout_s=TIMEOUT_S) == HostStatus("ondemand", 61.342, Throttling(0x20000), 1.5)
    assert board_model(root) == "Raspberry Pi 4 Model B Rev 1.1"
    assert read_state(machine(tmp_path, monkeypatch, temp="-1000")).temperature_c == -1


@pytest.mark.parametrize(
    "output", ["VCHI initialization failed", "error=1 error_msg='Command not registered'", "", "?"]
)
def test_a_machine_that_reports_nothing_usable_has_an_unknown_status(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vcgencmd = f'#!/bin/sh\necho "{output}"\n'
    root = machine(tmp_path, monkeypatch, vcgencmd=vcgencmd, temp=output, loadavg=output, scaling_governor="")
    assert read_state(root) == NOTHING
    monkeypatch.setenv("PATH", "")
    assert read_state(tmp_path / "empty") == NOTHING
    assert board_model(tmp_path / "empty") is None


def test_a_firmware_tool_that_hangs_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, monkeypatch, vcgencmd="#!/bin/sh\nexec sleep 60\n")
    assert read_state(root, firmware_timeout_s=0.1).throttling is None


@given(st.integers(min_value=0, max_value=0xFFFFFFFF))
def test_every_value_of_the_firmware_is_parsed(bits: int) -> None:
    throttling = Throttling(bits)
    assert throttling.now == [name for bit, name in THROTTLE_BITS.items() if bits >> bit & 1]
    assert throttling.since_boot == [name for bit, name in THROTTLE_BITS.items() if bits >> 16 >> bit & 1]


def test_throttling_before_the_measurement_is_no_trouble() -> None:
    assert trouble(CALM, CALM) == []
    old = replace(CALM, throttling=Throttling(0x50000))
    assert trouble(old, old) == []
    assert trouble(NOTHING, NOTHING) == []


@pytest.mark.parametrize("bits", [0x4, 0x40000])
def test_throttling_during_the_measurement_is_trouble_even_if_it_ended(bits: int) -> None:
    (reason,) = trouble(CALM, replace(CALM, throttling=Throttling(bits)))
    assert reason == "the machine was throttled (throttled)"


def test_heat_before_or_after_is_trouble() -> None:
    hot = replace(CALM, temperature_c=83.4)
    for before, after in ((CALM, hot), (hot, CALM)):
        (reason,) = trouble(before, after)
        assert "83 °C hot" in reason


def test_the_conditions_have_both_statuses_and_the_trouble() -> None:
    after = HostStatus("ondemand", 85.0, Throttling(0x40004), 2.0)
    facts = conditions(CALM, after)
    assert facts.keys() > {"board", "cpu"}
    assert (facts["temperature_before_c"], facts["temperature_after_c"]) == (52.0, 85.0)
    assert (facts["governor"], facts["throttle_bits"], facts["load"]) == ("ondemand", "0x40004", 0.1)
    assert facts["throttled_now"] == facts["throttled_since_boot"] == ["throttled"]
    assert len(facts["trouble"]) == 2


def test_this_machine_has_a_name_of_one_line() -> None:
    assert cpu_name().strip() == cpu_name() != ""
    assert "\n" not in cpu_name()
    assert "\x00" not in cpu_name()
