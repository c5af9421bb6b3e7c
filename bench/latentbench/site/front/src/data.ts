// Data files are scripts that call one function, because a page opened from disk may load a script and fetch nothing.
type Taker = (name: string, value: unknown) => void;
declare global { interface Window { latentbench: Taker } }

const waiting = new Map<string, (value: unknown) => void>();
const held = new Map<string, Promise<unknown>>();

window.latentbench = (name, value) => {
  waiting.get(name)?.(value);
  waiting.delete(name);
};

export function load<T>(name: string, again = false): Promise<T> {
  const known = held.get(name);
  if (known && !again) return known as Promise<T>;
  const coming = new Promise<unknown>((resolve, reject) => {
    waiting.set(name, resolve);
    const script = document.createElement("script");
    script.src = `data/${name}.js${again ? `?${Date.now()}` : ""}`;
    script.onload = () => script.remove();
    script.onerror = () => {
      script.remove();
      held.delete(name);
      reject(new Error(`data/${name}.js cannot be read. Write the site again with bench view.`));
    };
    document.head.append(script);
  });
  held.set(name, coming);
  return coming as Promise<T>;
}
