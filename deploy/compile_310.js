// node compile_310.js <pyodide> <script> <folder>: runs compile_310.py in Pyodide, which is CPython 3.10 in WebAssembly.
const fs = require("fs");
const [home, script, folder] = process.argv.slice(2);

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
