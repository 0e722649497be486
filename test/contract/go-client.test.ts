// The Go client, generated and built from Debian's packages, against a real server.
import { testForeignClient } from "../support/independent/foreign-client.ts";

const GO = ["env", "GO111MODULE=off", "GOPATH=/usr/share/gocode", "go"] as const;

await testForeignClient({
  name: "the Go client",
  folder: "go",
  makeArguments: [],
  needs: [
    ["make", "--version"],
    ["protoc", "--version"],
    ["protoc-gen-go", "--version"],
    ["protoc-gen-go-grpc", "--version"],
    [...GO, "list", "google.golang.org/grpc", "google.golang.org/genproto/googleapis/rpc/errdetails"],
    // What golang/protobuf 1.3 has not: with it gRPC cannot send the messages that protoc-gen-go generates.
    [...GO, "doc", "github.com/golang/protobuf/proto", "MessageV2"],
  ],
  packages:
    "make golang-go protobuf-compiler protoc-gen-go protoc-gen-go-grpc golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev",
});
