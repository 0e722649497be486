/** What a file should have been, and how TenSEAL writes it. */
export const CONTEXT_EXPECTED =
  "expected a public context: what context.serialize() gives, without save_secret_key=True";

/** What a file should have been, and how TenSEAL writes it. */
export const VECTOR_EXPECTED =
  "expected an encrypted CKKS vector: what ts.ckks_vector(context, values).serialize() gives";

/** How to make a context that is taken. */
export const CKKS_ADVICE =
  "make the context with ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 40, 60]), and set context.global_scale = 2**40";

/** How to add evaluation keys, which needs the secret key. */
export const KEYS_ADVICE =
  "where the secret key is, call context.generate_galois_keys() and context.generate_relin_keys(), and write it again with context.serialize()";

/** How to leave out the secret key, which works for contexts of both encryption types. */
export const SECRET_ADVICE =
  "write it again with context.serialize(), without save_secret_key=True, and keep this file to yourself";

/** How to encrypt vectors that are taken. */
export const CKKS_VECTOR_ADVICE =
  "make a CKKS context (ts.SCHEME_TYPE.CKKS) and encrypt with ts.ckks_vector(context, values)";

/** How to upload a context that is above the limit. */
export const TRIM_ADVICE =
  "name the dimension of your vectors, and of the Galois keys only those that they need are sent: veilface tenseal upload FILE --dimension D";
