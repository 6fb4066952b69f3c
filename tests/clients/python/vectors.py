"""Vectors: rows of one's own, texts cut and embedded, and search by either, with conditions."""

import json

import grpc
from connection import DEADLINE_S, check, is_refused
from sre.io.v1 import vector_db_pb2 as pb
from sre.io.v1 import vector_db_pb2_grpc


def rows_and_conditions(stub):
    made = stub.CreateVectorNamespace(
        pb.CreateVectorNamespaceRequest(
            namespace=pb.VectorNamespace(name="teams/-/vectors/python-points", dimension=3)
        ),
        timeout=DEADLINE_S,
    )
    points = {"x": (1, 0, 0), "xy": (1, 1, 0), "z": (0, 0, 1)}
    rows = [
        pb.Row(id=id, vector=pb.Vector(values=values), metadata_json=json.dumps({"axis": len(id)}).encode())
        for id, values in points.items()
    ]
    put = stub.UpsertRows(pb.UpsertRowsRequest(parent=made.name, rows=rows), timeout=DEADLINE_S)
    check("rows are put", put.created_count == 3, put)

    def found(**more):
        query = pb.Vector(values=(1, 0.1, 0))
        request = pb.SearchRequest(parent=made.name, vector=query, **more)
        return [hit.id for hit in stub.Search(request, timeout=DEADLINE_S).hits]

    check("rows are found, the most alike first", found() == ["x", "xy", "z"], found())
    check("as many as asked for", found(top_k=1) == ["x"], found(top_k=1))
    two = pb.Filter(equals=pb.Filter.Equals(key="axis", value=pb.Filter.Value(number=2)))
    check("a condition holds", found(filter=two) == ["xy"], found(filter=two))
    wrong = lambda: stub.UpsertRows(
        pb.UpsertRowsRequest(parent=made.name, rows=[pb.Row(id="w", vector=pb.Vector(values=(1, 2)))]),
        timeout=DEADLINE_S,
    )
    is_refused("a vector of another length", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", wrong)
    stub.DeleteVectorNamespace(pb.DeleteVectorNamespaceRequest(name=made.name), timeout=DEADLINE_S)


def texts(stub):
    made = stub.CreateVectorNamespace(
        pb.CreateVectorNamespaceRequest(
            namespace=pb.VectorNamespace(
                name="teams/-/vectors/python-texts", embedding=pb.Embedding(model="hash-embedding")
            )
        ),
        timeout=DEADLINE_S,
    )
    header = pb.DatasourceHeader(name=made.name + "/datasources/manual", chunk_size=60, chunk_overlap=0)
    pieces = ("The pump must be primed before use.\n\n", "Batteries are charged over night.\n\n", "Call us.")
    parts = [pb.CreateDatasourceRequest(header=header)]
    parts += [pb.CreateDatasourceRequest(text=text) for text in pieces]
    source = stub.CreateDatasource(iter(parts), timeout=DEADLINE_S)
    check("a text is cut", source.chunk_count >= 2, source)
    request = pb.SearchRequest(parent=made.name, text="how is the pump primed", top_k=1)
    hits = stub.Search(request, timeout=DEADLINE_S).hits
    check("a text is found by likeness", hits[0].text.startswith("The pump"), hits)
    check("and says where it is from", hits[0].datasource == "manual", hits)
    stub.DeleteVectorNamespace(pb.DeleteVectorNamespaceRequest(name=made.name), timeout=DEADLINE_S)


def checks(channel):
    stub = vector_db_pb2_grpc.VectorDbStub(channel)
    rows_and_conditions(stub)
    texts(stub)
