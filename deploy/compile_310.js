// node compile_310.js <pyodide> <script> <folder>: runs compile_310.py in Pyodide, which is CPython 3.10 in WebAssembly.
const fs = require("fs");
const [home, script, folder] = process.argv.slice(2);

// The order of sets, which is part of the bytecode, comes from random numbers: with these it is the same each time.
require("crypto").randomBytes = (size) => Buffer.alloc(size);
Object.defineProperty(globalThis, "crypto", { value: { getRandomValues: (array) => array.fill(0) }, configurable: true });

require(home + "/pyodide.js")
  .loadPyodide({ indexURL: home, fullStdLib: false, stdout: () => {} })
  .then((python) => {
    python.FS.mkdir("/code");
    python.FS.mount(python.FS.filesystems.NODEFS, { root: folder }, "/code");
    python.runPython("import sys; sys.argv[1:] = ['/code']");
    python.runPython(fs.readFileSync(script, "utf8"));
  })
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
