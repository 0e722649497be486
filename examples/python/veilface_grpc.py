"""What the examples share: Python stubs of the contract, a channel, the health check, and refusals in words.

Needs grpcio and its protoc; on Debian: apt install python3-grpcio python3-grpc-tools
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

try:
    import grpc
    import grpc_tools
    from grpc_tools import protoc
except ImportError as missing:
    sys.exit(f"{missing}: install grpcio and grpcio-tools (on Debian: apt install python3-grpcio python3-grpc-tools)")

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parents[1] / "proto"
# Where the .proto files are, and which: the contract of the repository, and two standard protocols that no Debian package has. TenSEAL's
# formats have a root of their own, so that their stubs are not a Python package named tenseal, which would hide the real one.
PROTOS = {CONTRACT / "tenseal": "*.proto", CONTRACT: "veilface/**/*.proto", HERE.parent / "proto": "*.proto"}
CALL_TIMEOUT_S = 30


def _generate_packages() -> dict[str, SimpleNamespace]:
    """Runs protoc into a temporary folder and imports what it wrote: by protobuf package, everything that is in it."""
    files = [(root, file) for root, pattern in PROTOS.items() for file in root.glob(pattern)]
    if not CONTRACT.is_dir():
        sys.exit(f"{CONTRACT} is missing: keep the examples inside the repository, or change CONTRACT in {__file__}")
    includes = [f"-I{root}" for root in [*PROTOS, Path(grpc_tools.__file__).parent / "_proto"]]
    packages: dict[str, SimpleNamespace] = {}
    with tempfile.TemporaryDirectory(prefix="veilface-stubs-") as out:
        if protoc.main(["protoc", *includes, f"--python_out={out}", f"--grpc_python_out={out}", *(str(file) for _, file in files)]) != 0:
            sys.exit("protoc could not read the contract: see above")
        sys.path.insert(0, out)
        try:
            for root, file in files:
                module = ".".join(file.relative_to(root).with_suffix("").parts)
                messages = importlib.import_module(f"{module}_pb2")
                stubs = importlib.import_module(f"{module}_pb2_grpc")
                package = packages.setdefault(messages.DESCRIPTOR.package, SimpleNamespace())
                vars(package).update(vars(messages), **{name: item for name, item in vars(stubs).items() if name.endswith("Stub")})
        finally:
            sys.path.remove(out)
    return packages


_packages = _generate_packages()
veilface = _packages["veilface.v1"]  # veilface.Ciphertext, veilface.ContextServiceStub, ...
tenseal_proto = _packages["tenseal"]  # TenSEAL's own file formats
_health = _packages["grpc.health.v1"]
_rpc = _packages["google.rpc"]


class Refused(Exception):
    """Something that the user can mend; its text says how."""


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="HOST:PORT", help="the matching server (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="use TLS, trusting the system's certificates")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="use TLS, trusting the certificates of this PEM file")
    parser.add_argument("--insecure", action="store_true", help="allow plain text to a server on another machine")


def connect(flags: argparse.Namespace) -> grpc.Channel:
    """A channel to a server that says it is serving."""
    if flags.tls or flags.tls_ca:
        roots = flags.tls_ca.read_bytes() if flags.tls_ca else None
        channel = grpc.secure_channel(flags.server, grpc.ssl_channel_credentials(roots))
    elif flags.insecure or flags.server.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]"):
        channel = grpc.insecure_channel(flags.server)
    else:
        raise Refused(f"{flags.server} is on another machine: use --tls or --tls-ca, or --insecure if the network between is your own")
    health = _health.HealthStub(channel).Check(_health.HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
    if health.status != _health.HealthCheckResponse.SERVING:
        raise Refused(f"the server at {flags.server} is not serving at present: try again later")
    return channel


def in_words(error: grpc.RpcError) -> str:
    """Why a call failed: the server's reason from its closed list, what it says, and the fields at fault."""
    if error.code() == grpc.StatusCode.UNAVAILABLE and not _details(error):
        return f"no veilface server answers there ({error.details()}): start one with `npm start`, or give its address with --server"
    reasons, fields = [], []
    for detail in _details(error):
        info, bad_request = _rpc.ErrorInfo(), _rpc.BadRequest()
        if detail.Unpack(info):
            reasons.append(info.reason)
        elif detail.Unpack(bad_request):
            fields += [violation.field for violation in bad_request.field_violations]
    at_fault = f" (field {', '.join(fields)})" if fields else ""
    return f"the server refused: {' '.join(reasons) or error.code().name}: {error.details()}{at_fault}"


def _details(error: grpc.RpcError) -> list:
    metadata = dict(error.trailing_metadata() or ())
    return list(_rpc.Status.FromString(metadata.get("grpc-status-details-bin", b"")).details)


def run(main) -> None:
    """Runs an example: exit code 0 if all went well, 1 with one line on stderr if not."""
    try:
        sys.exit(main())
    except grpc.RpcError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {in_words(error)}")
    except (Refused, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
