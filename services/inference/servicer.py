"""InferenceService: translates between the contract and the worker."""

from __future__ import annotations

from typing import Any

from strongroom.inference.v1 import inference_pb2 as pb
from strongroom.inference.v1 import inference_pb2_grpc as rpc

from chassis.failures import InvalidArgument
from chassis.identity import current_principal
from services.inference.worker.worker import Worker, as_adapter

NAME = "strongroom.inference.v1.InferenceService"
ALLOWED = {
    f"/{NAME}/GetWorker": frozenset({"service:gateway", "service:monitor", "role:operator", "role:reviewer"}),
    f"/{NAME}/Drain": frozenset({"role:operator"}),
    f"/{NAME}/LoadAdapter": frozenset({"role:operator"}),
    f"/{NAME}/UnloadAdapter": frozenset({"role:operator"}),
    f"/{NAME}/ListAdapters": frozenset({"service:gateway", "service:monitor", "role:operator", "role:reviewer"}),
}


class InferenceServicer(rpc.InferenceServiceServicer):
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def GetWorker(self, request: pb.GetWorkerRequest, context: Any) -> pb.GetWorkerResponse:
        return pb.GetWorkerResponse(worker=self._worker.describe())

    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.DrainResponse:
        return pb.DrainResponse(handed_back=await self._worker.drain(request.grace_seconds))

    async def LoadAdapter(self, request: pb.LoadAdapterRequest, context: Any) -> pb.LoadAdapterResponse:
        if len(request.digest) not in (0, 32):
            raise InvalidArgument("digest must be 32 bytes, or empty to take what is there", field="digest")
        return pb.LoadAdapterResponse(
            adapter=as_adapter(await self._worker.adapters.load(request.name, request.digest, current_principal.get()))
        )

    async def UnloadAdapter(self, request: pb.UnloadAdapterRequest, context: Any) -> pb.UnloadAdapterResponse:
        await self._worker.adapters.unload(request.name, current_principal.get())
        return pb.UnloadAdapterResponse()

    async def ListAdapters(self, request: pb.ListAdaptersRequest, context: Any) -> pb.ListAdaptersResponse:
        left_out = [
            pb.LeftOutAdapter(name=one.name, digest=bytes.fromhex(one.digest), reason=why)
            for one, why in self._worker.adapters.left_out.items()
        ]
        return pb.ListAdaptersResponse(adapters=map(as_adapter, self._worker.adapters.loaded), left_out=left_out)
