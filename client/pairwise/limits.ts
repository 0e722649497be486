/** The most key material that a server takes for a context: 64 MiB. */
export const MAX_KEY_BYTES = 67_108_864;
