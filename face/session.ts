import "./no-telemetry.ts";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { FaceError } from "./errors.ts";

/** One loaded network. */
export class ModelSession implements AsyncDisposable {
  readonly #session: InferenceSession;
  readonly #path: string;

  private constructor(session: InferenceSession, path: string) {
    this.#session = session;
    this.#path = path;
  }

  /** Throws FaceError MODEL_PACK_INVALID where the file is not a network that ONNX Runtime can run. */
  static async open(path: string): Promise<ModelSession> {
    try {
      // These networks are too small to gain from more threads: spinning workers cost the rest of the process more.
      const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;
      return new ModelSession(await InferenceSession.create(path, options), path);
    } catch (cause) {
      throw new FaceError("MODEL_PACK_INVALID", `${path} is not an ONNX network that can be loaded`, { cause });
    }
  }

  /**
   * Runs the network on its only input. Gives its outputs, in the order of `outputs`, or in its own order without.
   * Throws FaceError MODEL_PACK_INVALID where the network does not take this input or lacks an output.
   */
  run(data: Float32Array, shape: readonly number[]): Promise<Float32Array[]>;
  run(data: Float32Array, shape: readonly number[], outputs: readonly [string]): Promise<[Float32Array]>;
  run(
    data: Float32Array,
    shape: readonly number[],
    outputs: readonly [string, string],
  ): Promise<[Float32Array, Float32Array]>;
  async run(
    data: Float32Array,
    shape: readonly number[],
    outputs: readonly string[] = this.#session.outputNames,
  ): Promise<Float32Array[]> {
    const [input, ...others] = this.#session.inputNames;
    if (input === undefined || others.length > 0) throw this.#mismatch("expected a network with one input");
    const results = await this.#runSession(input, new Tensor("float32", data, shape));
    return outputs.map((name) => {
      const result = results[name]?.data;
      if (!(result instanceof Float32Array)) throw this.#mismatch(`expected a float32 output "${name}"`);
      return result;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.release();
  }

  async #runSession(input: string, tensor: Tensor): Promise<InferenceSession.OnnxValueMapType> {
    try {
      return await this.#session.run({ [input]: tensor });
    } catch (cause) {
      throw this.#mismatch(`it does not accept an input of ${tensor.dims.join(" x ")}`, cause);
    }
  }

  #mismatch(problem: string, cause?: unknown): FaceError {
    return new FaceError("MODEL_PACK_INVALID", `${this.#path} is not the network its card describes: ${problem}`, {
      cause,
    });
  }
}
