import { FaceError } from "./errors.ts";
import type { FalseMatchRate } from "./false-matches.ts";
import type { Anchor } from "./alignment.ts";
import { CardFields } from "./card-fields.ts";

/** A file of the pack's folder, with the SHA-256 it must have where the card states one. */
export interface ModelFile {
  /** Its bare name, at most 100 of letters, digits, "_", "." and "-". */
  readonly file: string;
  /** SHA-256 of its bytes, as 64 lowercase hexadecimal digits; not checked where the card states none. */
  readonly sha256?: string;
}

/** How pixels become the descriptor's input tensor: value = (pixel - mean) * scale, pixel in 0..255. */
export interface DescriptorInput {
  /** Width of the aligned face in pixels, in [16, 1024]. */
  readonly width: number;
  /** Height of the aligned face in pixels, in [16, 1024]. */
  readonly height: number;
  /** The order of the tensor's axes: channels first or last. */
  readonly layout: "NCHW" | "NHWC";
  /** The order of the channels in the tensor, and in `mean` and `scale`. */
  readonly channelOrder: "RGB" | "BGR";
  /** What is subtracted from each of the three channels, in [-1e6, 1e6]. */
  readonly mean: readonly number[];
  /** What each of the three channels is multiplied by then, in [-1e6, 1e6]. */
  readonly scale: readonly number[];
}

/** What a model pack's `model.json` says about it. */
export interface ModelCard {
  /** 1-64 of [a-z0-9-]; with the version it names the embedding space: embeddings of two models cannot be compared. */
  readonly id: string;
  /** Of the weights and of their conversion, 1-64 of letters, digits, ".", "_", "+" and "-". */
  readonly version: string;
  /** Under what terms the weights may be used, 1 to 10000 characters. */
  readonly license: string;
  /** How embeddings are compared, and what thresholds are in. */
  readonly metric: "euclidean" | "cosine";
  /**
   * The threshold of a verification (1:1). "euclidean": a distance (not squared), > 0, accept at or below; "cosine": a
   * similarity in [-1, 1], accept at or above.
   */
  readonly threshold: number;
  /** The threshold of a search among many (1:N), no laxer than `threshold`; that one unless stated. */
  readonly identificationThreshold?: number;
  /** False match rates of one comparison at 2 to 100 thresholds, from the strictest to the laxest, growing. */
  readonly falseMatchRates?: readonly FalseMatchRate[];
  /** Length of an embedding, in [1, 2048]. */
  readonly dimension: number;
  /**
   * The largest Euclidean norm of an embedding, after `embeddingMean`, in [1e-6, 1e6]: encryption scales by it, so a
   * tight one is precise, and longer embeddings are refused. Euclidean packs only.
   */
  readonly normBound?: number;
  /** A public constant, `dimension` long, subtracted from every embedding (before cosine packs are normalised). */
  readonly embeddingMean?: readonly number[];
  /** The network that computes the embedding, what it takes, and how a face is aligned for it. */
  readonly descriptor: ModelFile & {
    /** How an aligned face becomes the network's input tensor. */
    readonly input: DescriptorInput;
    /** Where 2 to 68 groups of landmarks belong in the aligned face, not all at one place. */
    readonly alignment: readonly Anchor[];
  };
  /** An SSD MobileNet v1 of the default pack's shape; without it the default pack's detector is used. */
  readonly detector?: ModelFile & {
    /** Input [1, 512, 512, 3], RGB 0 to 255; outputs "boxes" and "scores" as in default-pack/detector-graph.ts. */
    readonly kind: "ssd-mobilenet-v1";
  };
  /** A 68-point network of the default pack's shape; without it the default pack's is used. */
  readonly landmarks?: ModelFile & {
    /** Input [1, 112, 112, 3], RGB 0 to 255; output [1, 136], x and y of each point as fractions of the square. */
    readonly kind: "face-api-68";
  };
}

// The contract's limit (EmbeddingSpace.dimension).
const MAX_DIMENSION = 2048;
const MAX_INPUT_SIDE = 1024;
const MAX_MAGNITUDE = 1e6;
const ANY_NUMBER = { least: -MAX_MAGNITUDE, most: MAX_MAGNITUDE };
const LANDMARKS = 68;
const MAX_RATES = 100;

const CARD_FIELDS = [
  "id",
  "version",
  "license",
  "metric",
  "threshold",
  "identificationThreshold",
  "falseMatchRates",
  "dimension",
  "normBound",
  "embeddingMean",
  "descriptor",
  "detector",
  "landmarks",
];

/**
 * Parses and checks the text of a model card. Throws FaceError MODEL_PACK_INVALID naming the first field that is wrong
 * and what it should be.
 */
export function parseModelCard(json: string): ModelCard {
  const card = new CardFields(parseJson(json), "", CARD_FIELDS);
  const dimension = card.integer("dimension", 1, MAX_DIMENSION);
  const metric = card.oneOf("metric", ["euclidean", "cosine"]);
  return {
    id: card.text("id", /^[a-z0-9-]{1,64}$/, "1 to 64 of a-z, 0-9 and -"),
    version: card.text("version", /^[\w.+-]{1,64}$/, "1 to 64 letters, digits, or . + - _"),
    license: card.text("license", /^[^]{1,10000}$/, "the terms the weights are under, 1 to 10000 characters"),
    metric,
    ...parseThresholds(card, metric),
    dimension,
    ...(card.has("normBound") && { normBound: parseNormBound(card, metric) }),
    ...(card.has("embeddingMean") && {
      embeddingMean: card.numbers("embeddingMean", dimension, ANY_NUMBER),
    }),
    descriptor: parseDescriptor(card.object("descriptor", ["file", "sha256", "input", "alignment"])),
    ...(card.has("detector") && { detector: parseKnownModel(card, "detector", "ssd-mobilenet-v1") }),
    ...(card.has("landmarks") && { landmarks: parseKnownModel(card, "landmarks", "face-api-68") }),
  };
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new FaceError("MODEL_PACK_INVALID", "the model card is not JSON", { cause });
  }
}

type Thresholds = Pick<ModelCard, "threshold" | "identificationThreshold" | "falseMatchRates">;

function parseThresholds(card: CardFields, metric: ModelCard["metric"]): Thresholds {
  const threshold = parseThreshold(card, "threshold", metric);
  return {
    threshold,
    ...(card.has("identificationThreshold") && { identificationThreshold: parseStricter(card, threshold, metric) }),
    ...(card.has("falseMatchRates") && { falseMatchRates: parseRates(card, metric) }),
  };
}

function parseThreshold(card: CardFields, name: string, metric: ModelCard["metric"]): number {
  if (metric === "cosine") return card.number(name, -1, 1);
  const threshold = card.number(name, 0, MAX_MAGNITUDE);
  if (threshold === 0) throw card.refuse(name, "a distance above 0");
  return threshold;
}

function parseStricter(card: CardFields, threshold: number, metric: ModelCard["metric"]): number {
  const stricter = parseThreshold(card, "identificationThreshold", metric);
  if (isLaxer(metric, stricter, threshold))
    throw card.refuse("identificationThreshold", `a threshold no laxer than ${threshold}`);
  return stricter;
}

function parseRates(card: CardFields, metric: ModelCard["metric"]): FalseMatchRate[] {
  const rates = card.objects("falseMatchRates", ["threshold", "rate"]).map((entry) => ({
    threshold: parseThreshold(entry, "threshold", metric),
    rate: entry.number("rate", Number.MIN_VALUE, 1),
  }));
  const growing = rates.every(({ threshold, rate }, i) => {
    const before = rates[i - 1];
    return before === undefined || (isLaxer(metric, threshold, before.threshold) && rate >= before.rate);
  });
  if (rates.length >= 2 && rates.length <= MAX_RATES && growing) return rates;
  throw card.refuse("falseMatchRates", `2 to ${MAX_RATES} rates, from the strictest threshold to the laxest, growing`);
}

function isLaxer(metric: ModelCard["metric"], threshold: number, than: number): boolean {
  return metric === "cosine" ? threshold < than : threshold > than;
}

function parseNormBound(card: CardFields, metric: ModelCard["metric"]): number {
  if (metric === "cosine") throw card.refuse("normBound", "nothing: a cosine pack's embeddings have norm 1");
  const bound = card.number("normBound", 0, MAX_MAGNITUDE);
  if (bound < 1e-6) throw card.refuse("normBound", "a norm of at least 1e-6");
  return bound;
}

function parseKnownModel<K extends string>(card: CardFields, name: string, kind: K): ModelFile & { kind: K } {
  const model = card.object(name, ["kind", "file", "sha256"]);
  return { kind: model.oneOf("kind", [kind]), ...parseFile(model) };
}

function parseFile(fields: CardFields): ModelFile {
  // A bare name: a card must not reach outside its folder.
  const file = fields.text("file", /^[A-Za-z0-9][\w.-]{0,99}$/, "the bare name of a file in the pack's folder");
  if (!fields.has("sha256")) return { file };
  return { file, sha256: fields.text("sha256", /^[0-9a-f]{64}$/, "64 lowercase hex digits") };
}

function parseDescriptor(fields: CardFields): ModelCard["descriptor"] {
  const input = fields.object("input", ["width", "height", "layout", "channelOrder", "mean", "scale"]);
  return { ...parseFile(fields), input: parseInput(input), alignment: parseAlignment(fields) };
}

function parseInput(input: CardFields): DescriptorInput {
  return {
    width: input.integer("width", 16, MAX_INPUT_SIDE),
    height: input.integer("height", 16, MAX_INPUT_SIDE),
    layout: input.oneOf("layout", ["NCHW", "NHWC"]),
    channelOrder: input.oneOf("channelOrder", ["RGB", "BGR"]),
    mean: input.numbers("mean", 3, ANY_NUMBER),
    scale: input.numbers("scale", 3, ANY_NUMBER),
  };
}

function parseAlignment(fields: CardFields): Anchor[] {
  const anchors = fields.objects("alignment", ["landmarks", "x", "y"]).map((anchor) => ({
    landmarks: parseLandmarkIndices(anchor),
    x: anchor.number("x", -MAX_INPUT_SIDE, 2 * MAX_INPUT_SIDE),
    y: anchor.number("y", -MAX_INPUT_SIDE, 2 * MAX_INPUT_SIDE),
  }));
  const places = new Set(anchors.map(({ x, y }) => `${x} ${y}`));
  if (anchors.length > LANDMARKS || places.size < 2)
    throw fields.refuse("alignment", `2 to ${LANDMARKS} anchors, not all at one place`);
  return anchors;
}

function parseLandmarkIndices(anchor: CardFields): number[] {
  const indices = anchor.numbers("landmarks", [1, LANDMARKS], { least: 0, most: LANDMARKS - 1 });
  if (!indices.every(Number.isInteger)) throw anchor.refuse("landmarks", `whole numbers from 0 to ${LANDMARKS - 1}`);
  return indices;
}
