"""Starts a hospital's job process, and leaves it to the controller to notice that it has ended.

NVFlare reports the end of a killed process to the coordinator, which then ends the run before the
controller can say whose process it was.
"""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher


class HospitalHandle(JobHandleSpec):  # type: ignore[misc]  # NVFlare has no types
    """A job process whose code of return is not reported: the hospital is then named as silent."""

    def __init__(self, process: Any) -> None:
        super().__init__()
        self._process = process

    def terminate(self) -> None:
        """End the process."""
        self._process.terminate()

    def poll(self) -> int:
        """Nothing that NVFlare would report."""
        return int(JobReturnCode.UNKNOWN)

    def wait(self) -> None:
        """Until the process has ended."""
        self._process.wait()


class HospitalLauncher(ClientProcessJobLauncher):  # type: ignore[misc]
    """NVFlare's launcher of processes, with `HospitalHandle`."""

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> HospitalHandle:
        """Start the job process."""
        return HospitalHandle(super().launch_job(job_meta, fl_ctx))
