// Drawings as SVG of our own: an interval, an axis, points, bars. A plot library is ten times the rest of the page, and none of
// those that are small draws an interval with a floor.
import { useEffect, useRef, useState } from "preact/hooks";
import { number, scale, short, type Scale } from "./number";
import type { BoardRow, Measure, Num, Spread } from "./types";

const PAD = 4;
const percentAt = (s: Scale, value: number) => `${PAD + ((value - s.low) / (s.high - s.low)) * (100 - 2 * PAD)}%`;

export function Axis({ scale: s }: { scale: Scale }) {
  return (
    <svg class="axis" height="16" role="presentation" aria-hidden="true">
      {s.ticks.map((tick) => (
        <g key={tick}>
          <line x1={percentAt(s, tick)} x2={percentAt(s, tick)} y1="12" y2="16" />
          <text x={percentAt(s, tick)} y="10" text-anchor="middle">{number(tick, s.digits)}</text>
        </g>
      ))}
    </svg>
  );
}

export function Interval({ scale: s, held, worst = null, best = null, floor, soft = false }: {
  scale: Scale; held: Measure; worst?: Num; best?: Num; floor: Num; soft?: boolean;
}) {
  const at = (value: number) => percentAt(s, value);
  const told = held.estimate === null ? "no score"
    : `${number(held.estimate)}, interval ${number(held.low)} to ${number(held.high)}, floor ${number(floor)}`;
  return (
    <span class="interval">
      <svg height="20" role="img" aria-label={told} class={soft ? "soft" : ""}>
        <line class="rule" x1={at(s.low)} x2={at(s.high)} y1="10" y2="10" />
        {floor !== null && floor >= s.low && floor <= s.high && <line class="floor" x1={at(floor)} x2={at(floor)} y1="0" y2="20" />}
        {worst !== null && best !== null && <line class="bounds" x1={at(worst)} x2={at(best)} y1="10" y2="10" />}
        {held.low !== null && held.high !== null && <line class="band" x1={at(held.low)} x2={at(held.high)} y1="10" y2="10" />}
        {held.estimate !== null && <circle cx={at(held.estimate)} cy="10" r="4" />}
      </svg>
      <span class="ends cards-only" aria-hidden="true"><span>{number(s.low, s.digits)}</span><span>{number(s.high, s.digits)}</span></span>
    </span>
  );
}

export function scaleOf(held: Measure[], more: Num[] = []): Scale {
  return scale([...held.flatMap((m) => [m.estimate, m.low, m.high]), ...more]);
}

function useWidth(): [preact.RefObject<HTMLDivElement>, number] {
  const ref = useRef<HTMLDivElement>(null);
  const [width, set] = useState(640);
  useEffect(() => {
    const place = ref.current;
    if (!place) return;
    const watch = new ResizeObserver(() => set(Math.max(240, Math.min(900, place.clientWidth))));
    watch.observe(place);
    return () => watch.disconnect();
  }, []);
  return [ref, width];
}

export const COSTS: [string, string][] = [["tokens", "tokens a latent"], ["dollars", "dollars a latent"], ["seconds", "seconds a latent"]];

/** Explainers that no other row beats in score without being dearer; floors are none of them, and may keep one from being there. */
export function frontier(rows: BoardRow[], cost: (row: BoardRow) => Num, better: boolean): Set<BoardRow> {
  const priced = rows.filter((row) => cost(row) !== null && row.score.estimate !== null);
  const good = (row: BoardRow) => (better ? 1 : -1) * (row.score.estimate ?? 0);
  return new Set(priced.filter((row) => !row.is_floor && !priced.some((other) => other !== row && good(other) >= good(row)
    && (cost(other) ?? 0) <= (cost(row) ?? 0) && (good(other) > good(row) || (cost(other) ?? 0) < (cost(row) ?? 0)))));
}

export function CostPlot({ rows, cost, label, headline, better, floor }: {
  rows: BoardRow[]; cost: (row: BoardRow) => Num; label: string; headline: string; better: boolean; floor: Num;
}) {
  const [ref, width] = useWidth();
  const known = rows.filter((row) => cost(row) !== null && row.score.estimate !== null);
  const front = frontier(rows, cost, better);
  const height = 340, left = 48, bottom = 40, top = 10, right = 14;
  const y = scaleOf(known.map((row) => row.score), [floor]);
  const costs = known.map((row) => cost(row) ?? 0);
  const least = Math.min(...costs.filter((c) => c > 0), Infinity);
  const log = costs.length > 0 && Number.isFinite(least) && Math.min(...costs) > 0 && Math.max(...costs) / least > 20;
  const x = scale(log ? costs.map(Math.log10) : [0, ...costs], width < 420 ? 3 : 6);
  const px = (row: BoardRow) => left + (((log ? Math.log10(cost(row) ?? 1) : cost(row) ?? 0) - x.low) / (x.high - x.low)) * (width - left - right);
  const py = (value: number) => top + (1 - (value - y.low) / (y.high - y.low)) * (height - top - bottom);
  const numbers = new Map(known.map((row, i) => [row, i + 1]));
  if (!known.length) return <p class="soft">No row has a known cost of this sort.</p>;
  return (
    <div ref={ref} class="plot">
      <svg width={width} height={height} role="img" aria-label={`${headline} against ${label}; the list below says the same`}>
        {y.ticks.map((tick) => (
          <g key={tick}><line class="rule" x1={left} x2={width - right} y1={py(tick)} y2={py(tick)} />
            <text x={left - 6} y={py(tick) + 4} text-anchor="end">{number(tick, y.digits)}</text></g>
        ))}
        {x.ticks.map((tick) => {
          const at = left + ((tick - x.low) / (x.high - x.low)) * (width - left - right);
          return <g key={tick}><line class="rule" x1={at} x2={at} y1={height - bottom} y2={height - bottom + 4} />
            <text x={at} y={height - bottom + 17} text-anchor="middle">{short(log ? 10 ** tick : tick)}</text></g>;
        })}
        <text x={(left + width) / 2} y={height - 4} text-anchor="middle">{label}{log ? " (logarithmic)" : ""}</text>
        {floor !== null && <line class="floor" x1={left} x2={width - right} y1={py(floor)} y2={py(floor)} />}
        {known.map((row) => (
          <g key={numbers.get(row)} class={row.is_floor ? "soft" : ""}>
            {row.score.low !== null && row.score.high !== null &&
              <line class="whisker" x1={px(row)} x2={px(row)} y1={py(row.score.low)} y2={py(row.score.high)} />}
            <circle class={front.has(row) ? "front" : ""} cx={px(row)} cy={py(row.score.estimate ?? 0)} r={front.has(row) ? 6 : 4} />
            <text x={px(row) + 8} y={py(row.score.estimate ?? 0) + 4}>{numbers.get(row)}</text>
          </g>
        ))}
      </svg>
      <ol class="key">
        {known.map((row) => (
          <li key={numbers.get(row)} class={row.is_floor ? "floor" : ""}>
            <bdi>{row.explainer}</bdi>{row.is_floor ? " (floor)" : ""}: {number(row.score.estimate)}
            {" "}[{number(row.score.low)}, {number(row.score.high)}], n {row.score.n}, {short(cost(row))} {label}
            {front.has(row) ? <strong> {"\u00b7"} on the front</strong> : ""}
          </li>
        ))}
      </ol>
    </div>
  );
}

export function Histogram({ spread, bins, floor }: { spread: Spread; bins: [number, number]; floor: Num }) {
  const most = Math.max(...spread.counts, 1);
  const wide = 100 / spread.counts.length;
  const at = (value: number) => `${((value - bins[0]) / (bins[1] - bins[0])) * 100}%`;
  const [low, middle, high] = spread.quartiles;
  return (
    <span class="histogram">
      <svg height="64" role="img" aria-label={`Quartiles ${number(low)}, ${number(middle)}, ${number(high)} over ${spread.n} latents`}>
        {spread.counts.map((n, i) => n > 0 && (
          <rect key={i} x={`${i * wide + wide * 0.06}%`} width={`${wide * 0.88}%`} y={52 - (n / most) * 50} height={(n / most) * 50} />
        ))}
        {floor !== null && floor >= bins[0] && floor <= bins[1] && <line class="floor" x1={at(floor)} x2={at(floor)} y1="0" y2="54" />}
        <line class="band" x1={at(low)} x2={at(high)} y1="58" y2="58" />
        <circle cx={at(middle)} cy="58" r="4" />
      </svg>
      <span class="ends"><span>{number(bins[0], 2)}</span><span>{number(bins[1], 2)}</span></span>
    </span>
  );
}

/** How strongly a latent fires: each bar is a tenth of its active windows, as wide as the range that they have. */
export function Density({ edges }: { edges: number[] }) {
  const first = edges[0] ?? 0, last = edges.at(-1) ?? 0;
  if (edges.length < 2 || last <= first) return null;
  const bars = edges.slice(1).map((edge, i) => ({ from: edges[i] ?? 0, to: edge }));
  const dense = bars.map((bar) => (bar.to > bar.from ? 1 / (bar.to - bar.from) : 0));
  const most = Math.max(...dense);
  const at = (value: number) => ((value - first) / (last - first)) * 100;
  return (
    <span class="histogram">
      <svg height="64" role="img" aria-label={`Largest activation of its active windows: deciles ${edges.map((e) => number(e, 2)).join(", ")}`}>
        {bars.map((bar, i) => (
          <rect key={i} x={`${at(bar.from)}%`} width={`${Math.max(0.3, at(bar.to) - at(bar.from) - 0.3)}%`}
            y={62 - ((dense[i] ?? 0) / most) * 60} height={((dense[i] ?? 0) / most) * 60} />
        ))}
      </svg>
      <span class="ends"><span>{number(first, 2)}</span><span>{number(last, 2)}</span></span>
    </span>
  );
}
