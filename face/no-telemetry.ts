// To be imported before ONNX Runtime. From 1.29 on its Linux and macOS builds report their use to their maker and keep
// a device id, unless this is set before they are loaded. The pinned 1.27 has no such code; this is for whoever puts
// another one in its place.
process.env["ORT_DISABLE_TELEMETRY"] = "1";
