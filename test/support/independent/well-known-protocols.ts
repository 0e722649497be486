// Protocols that are not veilface's own, as their standards give them: health checking, server reflection, rich error
// details.
import type { fromJSON } from "@grpc/proto-loader";

const field = (id: number, type: string, rule?: "repeated") => ({ id, type, ...(rule === undefined ? {} : { rule }) });

const health = {
  HealthCheckRequest: { fields: { service: field(1, "string") } },
  HealthCheckResponse: {
    fields: { status: field(1, "ServingStatus") },
    nested: { ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } } },
  },
  Health: {
    methods: {
      Check: { requestType: "HealthCheckRequest", responseType: "HealthCheckResponse" },
      Watch: { requestType: "HealthCheckRequest", responseType: "HealthCheckResponse", responseStream: true },
    },
  },
};

const reflection = {
  ServerReflection: {
    methods: {
      ServerReflectionInfo: {
        requestType: "ServerReflectionRequest",
        responseType: "ServerReflectionResponse",
        requestStream: true,
        responseStream: true,
      },
    },
  },
  ServerReflectionRequest: {
    oneofs: { message_request: { oneof: ["file_by_filename", "file_containing_symbol", "list_services"] } },
    fields: {
      host: field(1, "string"),
      file_by_filename: field(3, "string"),
      file_containing_symbol: field(4, "string"),
      list_services: field(7, "string"),
    },
  },
  ServerReflectionResponse: {
    oneofs: { message_response: { oneof: ["file_descriptor_response", "list_services_response", "error_response"] } },
    fields: {
      file_descriptor_response: field(4, "FileDescriptorResponse"),
      list_services_response: field(6, "ListServiceResponse"),
      error_response: field(7, "ErrorResponse"),
    },
  },
  FileDescriptorResponse: { fields: { file_descriptor_proto: field(1, "bytes", "repeated") } },
  ListServiceResponse: { fields: { service: field(1, "ServiceResponse", "repeated") } },
  ServiceResponse: { fields: { name: field(1, "string") } },
  ErrorResponse: { fields: { error_code: field(1, "int32"), error_message: field(2, "string") } },
};

// Any keeps its bytes: it is declared under another name, so that nothing tries to unpack it.
const errors = {
  Status: { fields: { code: field(1, "int32"), message: field(2, "string"), details: field(3, "Detail", "repeated") } },
  Detail: { fields: { type_url: field(1, "string"), value: field(2, "bytes") } },
  ErrorInfo: { fields: { reason: field(1, "string"), domain: field(2, "string") } },
  BadRequest: { fields: { field_violations: field(1, "FieldViolation", "repeated") } },
  RetryInfo: { fields: { retry_delay: field(1, "Delay") } },
  QuotaFailure: { fields: { violations: field(1, "QuotaViolation", "repeated") } },
  QuotaViolation: { fields: { subject: field(1, "string"), description: field(2, "string") } },
  Delay: { fields: { seconds: field(1, "int64"), nanos: field(2, "int32") } },
  FieldViolation: { fields: { field: field(1, "string"), description: field(2, "string") } },
};

const inPackage = (path: string, nested: object): object =>
  path.split(".").reduceRight((inner: object, name) => ({ [name]: { nested: inner } }), nested);

/** In protobufjs's JSON form. Reflection under v1 and v1alpha: the same messages under two names. */
export const WELL_KNOWN_PROTOCOLS = {
  nested: {
    grpc: {
      nested: {
        ...inPackage("health.v1", health),
        reflection: { nested: { ...inPackage("v1", reflection), ...inPackage("v1alpha", reflection) } },
      },
    },
    ...inPackage("google.rpc", errors),
  },
} as unknown as Parameters<typeof fromJSON>[0];
