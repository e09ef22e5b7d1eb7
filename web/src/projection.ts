// Equal Earth, as build.mjs draws the land: (lon, lat) in degrees to map units, y downwards.

const A = [1.340264, -0.081106, 0.000893, 0.003796] as const;
const M = Math.sqrt(3) / 2;

export function project(lon: number, lat: number): [number, number] {
  const l = (lon * Math.PI) / 180;
  const p = Math.asin(M * Math.sin((lat * Math.PI) / 180));
  const p2 = p * p, p6 = p2 ** 3;
  const x = (l * Math.cos(p)) / (M * (A[0] + 3 * A[1] * p2 + p6 * (7 * A[2] + 9 * A[3] * p2)));
  const y = p * (A[0] + A[1] * p2 + p6 * (A[2] + A[3] * p2));
  return [x * 400, -y * 400];
}
