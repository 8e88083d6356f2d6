"""A torch and a driver that do not fit: said before a model is loaded, with what to change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.models.cuda import Cuda, Version, described, obstacle
from services.inference.models.device import choose_device

FITS = Cuda(built=(12, 6), driver=(12, 2), usable=True)
NO_BUILD = Cuda(built=None, driver=(12, 2), usable=False)
NO_DRIVER = Cuda(built=(12, 6), driver=None, usable=False)
OLD_DRIVER = Cuda(built=(13, 0), driver=(12, 2), usable=False)
HIDDEN = Cuda(built=(12, 6), driver=(12, 8), usable=False)


@pytest.mark.parametrize(
    ("cuda", "wrong", "remedy"),
    [
        (NO_BUILD, "built without CUDA", "built for CUDA 12.x"),
        (NO_DRIVER, "no NVIDIA driver answers", "--gpus all"),
        (OLD_DRIVER, "built for CUDA 13.0 and the driver speaks 12.2", "branch 580 or newer"),
        (HIDDEN, "finds no GPU", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_worker_told_to_use_a_gpu_it_cannot_use_does_not_start_and_says_what_to_change(
    cuda: Cuda, wrong: str, remedy: str
) -> None:
    """Fails if `choose_device` falls back to the CPU for a device that was named."""
    for asked in ("cuda", "cuda:1"):
        with pytest.raises(ValueError) as refused:
            choose_device(asked, cuda)
        assert wrong in str(refused.value) and remedy in str(refused.value)
        assert "STRONGROOM_INFERENCE_DEVICE=cpu" in str(refused.value)


@pytest.mark.parametrize("cuda", [NO_BUILD, NO_DRIVER, OLD_DRIVER, HIDDEN])
def test_left_to_choose_it_takes_the_cpu_and_says_why(cuda: Cuda) -> None:
    chosen = choose_device("auto", cuda)
    assert (chosen.name, chosen.reason) == ("cpu", obstacle(cuda))
    assert chosen.reason


def test_the_cpu_needs_no_driver() -> None:
    assert choose_device("cpu", NO_DRIVER).reason == "set"


def test_a_device_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="must be auto, cpu, cuda or cuda:N, not 'gpu'"):
        choose_device("gpu")


def test_an_older_minor_version_of_the_driver_is_enough_and_is_said() -> None:
    assert obstacle(FITS) == ""
    assert choose_device("cuda:0", FITS).reason == "set; CUDA 12.6 on a driver for 12.2 by minor version compatibility"
    assert described(Cuda(built=(12, 6), driver=(13, 0), usable=True)) == "CUDA 12.6 on a driver for 13.0"


def test_a_build_for_rocm_that_finds_its_device_is_left_alone() -> None:
    assert obstacle(Cuda(built=None, driver=None, usable=True)) == ""


versions = st.none() | st.tuples(st.integers(9, 20), st.integers(0, 9))


@given(versions, versions)
def test_a_driver_of_an_older_major_version_is_an_obstacle_whatever_torch_says(
    built: Version | None, driver: Version | None
) -> None:
    """Fails if `usable` alone decides."""
    refused = obstacle(Cuda(built=built, driver=driver, usable=True)) != ""
    assert refused == (built is not None and (driver is None or built[0] > driver[0]))
