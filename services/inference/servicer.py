"""InferenceService: translates between the contract and the worker."""

from __future__ import annotations

from typing import Any

from strongroom.inference.v1 import inference_pb2 as pb
from strongroom.inference.v1 import inference_pb2_grpc as rpc

from services.inference.worker.worker import Worker

NAME = "strongroom.inference.v1.InferenceService"
ALLOWED = {
    f"/{NAME}/GetWorker": frozenset({"service:gateway", "service:monitor", "role:operator", "role:reviewer"}),
    f"/{NAME}/Drain": frozenset({"role:operator"}),
}


class InferenceServicer(rpc.InferenceServiceServicer):
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def GetWorker(self, request: pb.GetWorkerRequest, context: Any) -> pb.GetWorkerResponse:
        return pb.GetWorkerResponse(worker=self._worker.describe())

    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.DrainResponse:
        return pb.DrainResponse(handed_back=await self._worker.drain(request.grace_seconds))
