/**
 * What dlib's descriptor answers to a chip that shows nothing (all pixels 0), to 3 decimals.
 *
 * Its embeddings share a large mean: they are 1.43 long on average, and most of that is the same for everyone.
 * Distances stay as they are when one constant is subtracted from all of them, while encryption noise grows with the
 * length of what is encrypted. This constant brings the length down to 0.73, and says nothing about anybody, as no face
 * was used to make it.
 */
export const EMBEDDING_MEAN: readonly number[] = [
  -0.036, 0.114, 0.084, -0.015, -0.066, -0.042, -0.049, 0.009, 0.143, -0.026, 0.236, 0.001, -0.238, -0.047, 0.003,
  0.085, -0.149, -0.066, -0.107, -0.12, 0.033, 0.004, 0.018, 0.009, -0.098, -0.277, -0.073, -0.134, 0.089, -0.196,
  0.013, 0.022, -0.134, -0.057, -0.028, 0.02, 0.003, -0.089, 0.152, -0.037, -0.14, -0.054, -0.011, 0.265, 0.187, 0.044,
  0.01, -0.043, 0.065, -0.276, 0.028, 0.163, 0.03, 0.125, 0.067, -0.17, 0.041, 0.088, -0.138, 0.039, 0.041, -0.094,
  -0.036, -0.11, 0.214, 0.067, -0.089, -0.129, 0.108, -0.149, -0.033, 0.118, -0.111, -0.166, -0.223, 0.102, 0.359, 0.2,
  -0.145, 0.036, -0.124, -0.012, 0.025, 0.024, -0.067, 0.017, -0.092, 0.055, 0.152, -0.076, 0.024, 0.183, -0.051, 0.033,
  -0.003, 0.015, -0.086, 0.054, -0.067, 0.018, 0.127, -0.135, 0.028, 0.067, -0.171, 0.108, -0.004, -0.021, 0.038, 0.006,
  -0.062, -0.037, 0.234, -0.263, 0.247, 0.235, 0.036, 0.143, 0.039, 0.149, -0.049, -0.066, -0.122, -0.028, 0.013,
  -0.015, -0.042, -0.004,
];
