/** The most key material that a server takes for a context: 64 MiB. */
export const MAX_KEY_BYTES = 67_108_864;

/** R, the largest Euclidean norm of vectors, is in this range. */
export const MIN_NORM_BOUND = 1e-6;
/** The other end. */
export const MAX_NORM_BOUND = 1e6;
