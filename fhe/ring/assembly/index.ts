import { N } from "./modulus";
import { TILE } from "./match";
export { forwardNtt, inverseNtt } from "./ntt";
export { addPolynomial, center, centerTwo, countInRange, multiplyPolynomial, reduceCoefficients } from "./residues";
export { packPolynomial, unpackPolynomial } from "./pack";
export { multiplyTiles, toMontgomery } from "./match";
export { N, TILE };
