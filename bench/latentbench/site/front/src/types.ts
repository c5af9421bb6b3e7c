// What the data files hold; the same names as the dataclasses of latentbench.site that write them.
export type Num = number | null;

export interface Measure { name: string; estimate: Num; low: Num; high: Num; n: number; floor: Num }
export interface Spread { counts: number[]; quartiles: [number, number, number]; n: number }
export interface BoardRow {
  explainer: string; explainer_id: string; model: string | null; is_floor: boolean; run: string; date: string; command: string;
  status: string; rank_low: Num; rank_high: Num; tie: Num; score: Measure; worst: Num; best: Num; coverage: Num; judged: number;
  attempted: number; repeats: number; metrics: Measure[]; tokens: number; dollars: Num; seconds: number; spread: Spread | null;
}
export interface Duel { first: number; second: number; difference: number; low: Num; high: Num; n: number; ahead: number; p: Num }
export interface BoardTable {
  title: string; conditions: string; suite: string; suite_digest: string; split: string; coders: string; kind: string | null;
  scorer: string; judge: string; qualification: string; headline: string; floor: Num; higher_is_better: boolean; ranked: boolean;
  latents: number; rows: BoardRow[]; bins: [number, number] | null; duels: Duel[]; duelled: number;
}
export interface ExamRow {
  judge: string; scorer: string; suite: string; distribution: string; latents: number; judgements: number; coverage: number;
  near: Measure; unrelated: Measure; paraphrase: Measure | null; yes_bias: Measure | null; tokens: number; dollars: Num;
  seconds: number; date: string; command: string;
}
export interface CoderRow {
  coder: string; kind: string | null; run: string; rank_low: number; rank_high: number; tie: number; score: Measure;
  coverage: Num; judged: number; attempted: number;
}
export interface CoderTable {
  suite: string; split: string; explainer: string; is_floor: boolean; scorer: string; judge: string; headline: string; floor: Num;
  rows: CoderRow[];
}
export interface Boards { tables: BoardTable[]; exams: ExamRow[]; coders: CoderTable[]; remarks: string[] }
export interface RunEntry {
  key: string; id: string; name: string; started: string; suite: string; split: string; latents: number; failed: Num; command: string;
  raters?: number;
}
export interface SiteIndex { title: string; runs: RunEntry[]; tables: number; exams: number; walks: string[]; live: boolean }
export interface Grading { scorer: string; judge: string; headline: string; floor: Num; higher_is_better: boolean }
export interface NamedExplainer { label: string; id: string; is_floor: boolean; model: string | null }
export interface LatentList {
  run: string; suite: string; split: string; page_size: number; outcomes: string[]; has_windows: boolean; has_calls: boolean;
  explainers: NamedExplainer[]; gradings: Grading[]; ids: string[]; coders: string[]; coder: number[]; rate: Num[]; largest: Num[];
  scores: Num[][][]; coverage: Num[];
}
export interface PeopleData {
  raters: { rater: string; ratings: number; choices: number }[]; sources: string[]; explanations: number; each: Num;
  scorers: Measure[]; ceiling: Measure | null; between: Measure[]; choices: Measure[]; explainers: string[]; mean: Num[][];
  ratings: number[][];
}
export interface TextList { explainers: string[]; texts: string[][] }
export interface ShownWindow { id: number; role: string; kind: string; tokens: string[]; at: number[]; values: number[] }
export interface ShownText {
  explainer: string; repeat: number; text: string | null; outcome: string; error: string | null; note: string | null;
}
export interface ScoreTable { scorer: string; judge: string; judged: number[]; attempted: number[]; metrics: [string, Num[]][] }
export type Said = [number, Num?, Num?, (string | null)?];
export interface VerdictLine { trial: string; part: string; item: Num; kind: string; truth: number; said: (Said | null)[] }
export interface VerdictTable {
  scorer: string; judge: string; repeat: number; explainers: string[]; cells: string[]; lines: VerdictLine[];
}
export interface Steered {
  window: number; role: string; kind: string; mode: string; target: Num; kl: number; reached: boolean; delta: Num; prompt: string;
  clean: string; steered: string; promoted: string[]; suppressed: string[];
}
export interface ShownLatent {
  id: string; coder: string; kind: string | null; hookpoint: string | null; split: string; scale: number;
  rates: { token: Num; context: Num; largest: Num; edges: number[] } | null; promoted: string[]; suppressed: string[];
  truth: string | null; windows: ShownWindow[]; texts: ShownText[]; scores: ScoreTable[]; verdicts: VerdictTable[];
  steered: Steered[]; neighbours: { id: string; cosine: number; in_run: boolean }[];
}
export interface ShownCall {
  owner: string; stage: string; repeat: number; trial: string; part: string; items: number[]; round: number; form: string;
  member: string; messages: [string, number][]; reply: Num; reasoning: Num; outcome: string; cause: string; finish: string;
  answers: string[]; probabilities: number[]; value: Num;
}
export interface CallList { latent: string; texts: string[]; calls: ShownCall[] }
export interface DifferenceSide { name: string; value: number; place: number }
export interface LatentDifference {
  latent: string; about: string; is_floor: boolean; metric: string; size: number; more: DifferenceSide; less: DifferenceSide;
}
export interface DifferenceList { sort: string; unit: string; n: number; shown: LatentDifference[] }
export interface Failure {
  stage: string; latent: string; explainer: string; scorer: string; judge: string; repeat: number; part: string; item: Num;
  error: string; reply: string | null; reasoning: string | null;
}
export interface FailureList {
  n: number; attempted: number; has_calls: boolean; causes: { outcome: string; cause: string; n: number; shown: Failure[] }[];
}
export interface LiveStage { stage: string; label: string; done: number; of: number; outcomes: Record<string, number> }
export interface LiveText { explainer: string; latent: string; text: string }
export interface LiveRun {
  id: string; status: string; started: string; suite: string; latents: number; stages: LiveStage[]; causes: [string, number][];
  texts: LiveText[]; version: number; error: string | null;
}
export interface WalkScore { scorer: string; judge: string; metric: string; value: Num; judged: number; attempted: number }
export interface WalkText { explainer: string; is_floor: boolean; text: string; scores: WalkScore[] }
export interface WalkedLatent {
  id: string; coder: string; hookpoint: string; place: number; activations: number[]; share: Num; texts: WalkText[];
}
export interface SentenceWalk {
  sentence: string; tokens: string[]; suite: string; runs: string[]; latents: WalkedLatent[]; limits: string[];
  coders: { name: string; hookpoint: string; fired: number; known: number }[];
}
