import { kernelWasmBase64 } from "./gen/kernel-wasm.ts";

const PAGE_BYTES = 65_536;
// Nothing lives at address 0, and every region starts on a cache line.
const ALIGNMENT = 64;

// What is used of the WebAssembly API: its types come with the DOM's, which this package does without.
interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
}

const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };

/** The exports of assembly/index.ts. Addresses and sizes are in bytes unless a name says otherwise. */
export interface KernelExports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  readonly N: { readonly value: number };
  readonly TILE: { readonly value: number };
  forwardNtt(polynomial: number, modulus: number): void;
  inverseNtt(polynomial: number, modulus: number): void;
  countInRange(residues: number, bytes: number, modulus: number): number;
  reduceCoefficients(coefficients: number, residues: number, modulus: number): void;
  center(residues: number, coefficients: number, modulus: number): void;
  centerTwo(
    first: number,
    second: number,
    coefficients: number,
    firstModulus: number,
    secondModulus: number,
    inverse: number,
  ): void;
  addPolynomial(accumulator: number, residues: number, modulus: number): void;
  multiplyPolynomial(residues: number, factor: number, modulus: number): void;
  packPolynomial(residues: number, bytes: number): void;
  unpackPolynomial(bytes: number, residues: number): void;
  toMontgomery(residues: number, bytes: number, modulus: number): void;
  multiplyTiles(
    tiles: number,
    probe: number,
    count: number,
    pieces: number,
    out: number,
    componentBytes: number,
    modulus: number,
  ): void;
}

let compiled: object | undefined;

/**
 * A fresh instance with an empty memory. The module is compiled once per thread, synchronously: it is a few kilobytes.
 */
export function instantiateKernel(): KernelExports {
  compiled ??= new WebAssembly.Module(Uint8Array.from(atob(kernelWasmBase64), (character) => character.charCodeAt(0)));
  // Of the kernel that this package compiles; createKernelMemory looks at its constants.
  return new WebAssembly.Instance(compiled).exports as KernelExports;
}

/**
 * Hands out addresses; the memory is sized once, when everything has been handed out, since growing later would detach
 * views.
 */
export class BumpAllocator {
  #end = ALIGNMENT;

  /** Address of a region of this many bytes. */
  allocate(bytes: number): number {
    const address = this.#end;
    this.#end = Math.ceil((address + bytes) / ALIGNMENT) * ALIGNMENT;
    return address;
  }

  /** 64 KiB pages that hold everything handed out. */
  get pages(): number {
    return Math.ceil(this.#end / PAGE_BYTES);
  }
}
