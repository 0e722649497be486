// The C++ client, generated and built from Debian's packages, against a real server.
import { testForeignClient } from "../support/independent/foreign-client.ts";

await testForeignClient({
  name: "the C++ client",
  folder: "cpp",
  // Nothing is measured, and the compiler takes a third of the time.
  makeArguments: ["CXXFLAGS=-O0"],
  needs: [
    ["make", "--version"],
    ["g++", "--version"],
    ["protoc", "--version"],
    ["sh", "-c", "command -v grpc_cpp_plugin"],
    ["pkg-config", "--exists", "grpc++", "protobuf"],
  ],
  packages: "make g++ pkg-config protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libgrpc++-dev",
});
