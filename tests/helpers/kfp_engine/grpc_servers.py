"""ML Metadata's server, and of KFP's API server the service that its cache is, over gRPC."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as native
from ml_metadata.proto import metadata_store_pb2, metadata_store_service_pb2

_MLMD = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# Of a cached execution: what KFP's message api.Task says, field by field.
_TASK = ("id", "namespace", "pipelineName", "runId", "mlmdExecutionID")
_FINGERPRINT = 8


@contextmanager
def grpc_server(database: Path) -> Iterator[int]:
    """Serve both on one port of the loopback interface; yields the port."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_metadata(database), _Cache().handler()))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def _metadata(database: Path) -> grpc.GenericRpcHandler:
    """The store's own methods take and give the bytes of the messages of their namesakes."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    store = native.CreateMetadataStore(
        config.SerializeToString(), metadata_store_pb2.MigrationOptions().SerializeToString()
    )
    lock = threading.Lock()

    def method(name: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        call = getattr(native, name)

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            with lock:
                content, problem, code = call(store, request)
            if code:
                context.abort(_CODES[code], problem.decode())
            return bytes(content)

        return answer

    return _handler(
        _MLMD.full_name,
        {each.name: method(each.name) for each in _MLMD.methods if hasattr(native, each.name)},
    )


class _Cache:
    """api.TaskService: executions by their fingerprint."""

    def __init__(self) -> None:
        self._created: list[Any] = []
        file = descriptor_pb2.FileDescriptorProto(name="tasks.proto", package="api")
        file.syntax = "proto3"
        task = file.message_type.add(name="Task")
        for number, name in [*enumerate(_TASK, 1), (_FINGERPRINT, "fingerprint")]:
            task.field.add(name=name, number=number, type=9, label=1)
        one = file.message_type.add(name="CreateTaskRequest")
        one.field.add(name="task", number=1, type=11, label=1, type_name=".api.Task")
        query = file.message_type.add(name="ListTasksRequest")
        query.field.add(name="filter", number=5, type=9, label=1)
        several = file.message_type.add(name="ListTasksResponse")
        several.field.add(name="tasks", number=1, type=11, label=3, type_name=".api.Task")
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._messages = {
            each.name: message_factory.GetMessageClass(
                pool.FindMessageTypeByName(f"api.{each.name}")
            )
            for each in file.message_type
        }

    def handler(self) -> grpc.GenericRpcHandler:
        return _handler(
            "api.TaskService", {"CreateTaskV1": self._create, "ListTasksV1": self._list}
        )

    def _create(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        task = self._messages["CreateTaskRequest"].FromString(request).task
        self._created.append(task)
        return bytes(task.SerializeToString())

    def _list(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        query = json.loads(self._messages["ListTasksRequest"].FromString(request).filter)
        wanted = {each["key"]: each["stringValue"] for each in query["predicates"]}
        # The newest first, and one is all that is asked for.
        found = [
            task
            for task in reversed(self._created)
            if all(getattr(task, key) == value for key, value in wanted.items())
        ][:1]
        return bytes(self._messages["ListTasksResponse"](tasks=found).SerializeToString())


def _handler(
    service: str, methods: dict[str, Callable[[bytes, grpc.ServicerContext], bytes]]
) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        service, {name: grpc.unary_unary_rpc_method_handler(each) for name, each in methods.items()}
    )
