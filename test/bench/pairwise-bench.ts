// The road that tutorials take, for comparison: one pair of embeddings under CKKS with N = 8192, slots, relinearisation and rotations.
import { loadSealForKeyHolder } from "@veilface/fhe";
import { latency, sample, unitVector } from "./figures.ts";
import type { BenchLine } from "./figures.ts";

const DEGREE = 8192;
const PRIME_BITS = Int32Array.of(60, 40, 40, 60);
const SCALE = 2 ** 40;
const ROUNDS = 20;

/** Milliseconds of one comparison of two vectors: subtract, square, relinearize, rescale, rotate and add. */
export async function pairwiseBench(dimension: number): Promise<BenchLine> {
  const seal = await loadSealForKeyHolder();
  using owned = new DisposableStack();
  const parameters = owned.use(new seal.EncryptionParameters(seal.SchemeType.ckks));
  parameters.setPolyModulusDegree(DEGREE);
  parameters.setCoeffModulus(owned.use(seal.CoeffModulus.Create(DEGREE, PRIME_BITS)));
  const context = owned.use(new seal.SEALContext(parameters, true, seal.SecLevelType.tc128));
  const generator = owned.use(new seal.KeyGenerator(context));
  const [publicKey, secretKey] = [owned.use(generator.createPublicKey()), owned.use(generator.secretKey())];
  const [relinKeys, galoisKeys] = [owned.use(generator.createRelinKeys()), owned.use(generator.createGaloisKeys())];
  const encryptor = owned.use(new seal.Encryptor(context, publicKey, secretKey));
  const [encoder, evaluator, decryptor] = [owned.use(new seal.CKKSEncoder(context)), owned.use(new seal.Evaluator(context)), owned.use(new seal.Decryptor(context, secretKey))];
  const [plaintext, rotated] = [owned.use(new seal.Plaintext()), owned.use(new seal.Ciphertext())];
  const [x, y, distance] = [owned.use(new seal.Ciphertext()), owned.use(new seal.Ciphertext()), owned.use(new seal.Ciphertext())];
  const [a, b] = [unitVector(1, dimension), unitVector(2, dimension)];
  for (const [vector, ciphertext] of [[a, x], [b, y]] as const) {
    encoder.encode(Float64Array.from(vector), SCALE, plaintext);
    encryptor.encrypt(plaintext, ciphertext);
  }
  const samples = await sample(ROUNDS, () => {
    evaluator.sub(x, y, distance);
    evaluator.squareInplace(distance);
    evaluator.relinearizeInplace(distance, relinKeys);
    evaluator.rescaleToNextInplace(distance);
    for (let step = 2 ** Math.ceil(Math.log2(dimension) - 1); step >= 1; step /= 2) {
      evaluator.rotateVector(distance, step, galoisKeys, rotated);
      evaluator.addInplace(distance, rotated);
    }
  });
  decryptor.decrypt(distance, plaintext);
  const found = (encoder.decodeFloat64(plaintext) as Float64Array)[0]!;
  const expected = a.reduce((sum, component, k) => sum + (component - b[k]!) ** 2, 0);
  if (Math.abs(found - expected) > 1e-4) throw new Error("the pairwise comparison is wrong");
  return { case: "pairwise_tutorial", templates: 1, dimension, parameterSet: "CKKS_N8192_60_40_40_60", stride: 0, ...latency(samples) };
}
