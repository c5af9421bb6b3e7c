// Numbers as docs/numbers.md writes them.
import type { Num } from "./types";

export const NONE = "\u2013";

export function number(value: Num | undefined, digits = 3): string {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  const n = size >= 1000 ? 0 : size >= 100 ? Math.min(digits, 1) : digits;
  const text = value.toLocaleString("en", { minimumFractionDigits: n, maximumFractionDigits: n });
  return /^-[0.,]*$/.test(text) ? text.slice(1) : text;
}

export function signed(value: Num): string {
  return value !== null && value > 0 ? `+${number(value)}` : number(value);
}

export function percent(share: Num, digits = 0): string {
  if (share === null) return NONE;
  if (share >= 0.995 && share < 1) return `${(Math.min(share, 0.9994) * 100).toFixed(1)}%`;
  const text = (share * 100).toFixed(digits);
  return share > 0 && Number(text) === 0 ? `<${10 ** -digits}%` : `${text}%`;
}

export function pValue(value: Num): string {
  return value === null ? "too few" : value < 0.001 ? "<0.001" : value.toFixed(3);
}

export function short(value: Num): string {
  if (value === null) return NONE;
  return value >= 999.5 ? `${(value / 1000).toPrecision(2)}k` : value >= 10 ? value.toFixed(0) : value === 0 ? "0" : value.toPrecision(2);
}

export function dollars(value: Num): string {
  return value === null ? NONE : value === 0 ? "0" : `~${value < 10 ? Number(value.toPrecision(2)) : value.toFixed(0)}`;
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

export interface Scale { low: number; high: number; ticks: number[]; digits: number }

export function scale(values: Num[], most = 5): Scale {
  const known = values.filter((v): v is number => v !== null);
  const min = known.length ? Math.min(...known) : 0;
  const max = known.length ? Math.max(...known) : 1;
  const span = Math.max(max - min, 1e-6);
  const base = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((m) => m * base).find((s) => span / s <= most) ?? span;
  const low = Math.floor(min / step + 1e-9) * step;
  let high = Math.ceil(max / step - 1e-9) * step;
  if (high <= low) high = low + step;
  const n = Math.round((high - low) / step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { low, high, digits, ticks: Array.from({ length: n + 1 }, (_, i) => low + i * step) };
}
