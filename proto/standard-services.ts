import { create, fromJson, toBinary } from "@bufbuild/protobuf";
import type { JsonObject } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { definedOnly } from "./defined-only.ts";

/**
 * A field: its number, its name, its type (a scalar's, or of the same package "message Name" or "enum Name"), and where
 * it belongs.
 */
type Field = readonly [number: number, name: string, type: string, where?: "repeated" | "oneof"];

/**
 * The versions of grpc.reflection: the same messages in two packages. Many clients of C++ and Go know the older one
 * only.
 */
export const REFLECTION_VERSIONS = ["v1", "v1alpha"] as const;

/**
 * The descriptors of grpc.health.v1 (Check and Watch) and of both versions of grpc.reflection, as
 * https://github.com/grpc/grpc-proto has them: a serialized google.protobuf.FileDescriptorSet. The packages that
 * implement these services come without descriptors.
 */
export function standardServicesDescriptorSet(): Uint8Array {
  const files = [health(), ...REFLECTION_VERSIONS.map(reflection)];
  const set = create(FileDescriptorSetSchema, { file: files.map((json) => fromJson(FileDescriptorProtoSchema, json)) });
  return toBinary(FileDescriptorSetSchema, set);
}

function health(): JsonObject {
  const scope = "grpc.health.v1";
  const values = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"].map((name, number) => ({ name, number }));
  const status = message(scope, "HealthCheckResponse", [1, "status", "enum HealthCheckResponse.ServingStatus"]);
  return {
    ...file(scope, "health"),
    messageType: [
      message(scope, "HealthCheckRequest", [1, "service", "string"]),
      { ...status, enumType: [{ name: "ServingStatus", value: values }] },
    ],
    service: [
      {
        name: "Health",
        method: ["Check", "Watch"].map((name) =>
          method(scope, { name, messages: "HealthCheck" }, { serverStreaming: name === "Watch" }),
        ),
      },
    ],
  };
}

function reflection(version: string): JsonObject {
  const scope = `grpc.reflection.${version}`;
  const streams = { clientStreaming: true, serverStreaming: true };
  const info = method(scope, { name: "ServerReflectionInfo", messages: "ServerReflection" }, streams);
  return {
    ...file(scope, "reflection"),
    messageType: [reflectionRequest(scope), reflectionResponse(scope), ...reflectionParts(scope)],
    service: [{ name: "ServerReflection", method: [info] }],
  };
}

function reflectionRequest(scope: string): JsonObject {
  const fields: Field[] = [
    [1, "host", "string"],
    [3, "file_by_filename", "string", "oneof"],
    [4, "file_containing_symbol", "string", "oneof"],
    [5, "file_containing_extension", "message ExtensionRequest", "oneof"],
    [6, "all_extension_numbers_of_type", "string", "oneof"],
    [7, "list_services", "string", "oneof"],
  ];
  return { ...message(scope, "ServerReflectionRequest", ...fields), oneofDecl: [{ name: "message_request" }] };
}

function reflectionResponse(scope: string): JsonObject {
  const fields: Field[] = [
    [1, "valid_host", "string"],
    [2, "original_request", "message ServerReflectionRequest"],
    [4, "file_descriptor_response", "message FileDescriptorResponse", "oneof"],
    [5, "all_extension_numbers_response", "message ExtensionNumberResponse", "oneof"],
    [6, "list_services_response", "message ListServiceResponse", "oneof"],
    [7, "error_response", "message ErrorResponse", "oneof"],
  ];
  return { ...message(scope, "ServerReflectionResponse", ...fields), oneofDecl: [{ name: "message_response" }] };
}

/** The messages that requests and responses have in them. */
function reflectionParts(scope: string): JsonObject[] {
  const numbers: Field[] = [
    [1, "base_type_name", "string"],
    [2, "extension_number", "int32", "repeated"],
  ];
  return [
    message(scope, "ExtensionRequest", [1, "containing_type", "string"], [2, "extension_number", "int32"]),
    message(scope, "FileDescriptorResponse", [1, "file_descriptor_proto", "bytes", "repeated"]),
    message(scope, "ExtensionNumberResponse", ...numbers),
    message(scope, "ListServiceResponse", [1, "service", "message ServiceResponse", "repeated"]),
    message(scope, "ServiceResponse", [1, "name", "string"]),
    message(scope, "ErrorResponse", [1, "error_code", "int32"], [2, "error_message", "string"]),
  ];
}

function file(scope: string, name: string): JsonObject {
  return { name: `${scope.replaceAll(".", "/")}/${name}.proto`, package: scope, syntax: "proto3" };
}

/** `messages`: the name of its request and response, but for their endings. */
function method(
  scope: string,
  { name, messages }: { readonly name: string; readonly messages: string },
  streams: { readonly clientStreaming?: boolean; readonly serverStreaming?: boolean },
): JsonObject {
  return { name, inputType: `.${scope}.${messages}Request`, outputType: `.${scope}.${messages}Response`, ...streams };
}

function message(scope: string, name: string, ...fields: readonly Field[]): JsonObject {
  return { name, field: fields.map((field) => fieldOf(scope, field)) };
}

function fieldOf(scope: string, [number, name, type, where]: Field): JsonObject {
  const [kind = "", typeName] = type.split(" ");
  return {
    number,
    name,
    label: where === "repeated" ? "LABEL_REPEATED" : "LABEL_OPTIONAL",
    type: `TYPE_${kind.toUpperCase()}`,
    ...definedOnly({
      typeName: typeName === undefined ? undefined : `.${scope}.${typeName}`,
      oneofIndex: where === "oneof" ? 0 : undefined,
    }),
  };
}
