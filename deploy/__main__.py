"""python3 -m deploy [init | conversation | reply | check]: asks for settings, builds packages, checks all."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys

from . import build, check, environment, init

HELP = """\
init          逐项询问设置，写入 .env
              asks for the settings, one by one, and writes .env
conversation  构建 .package/conversation
              builds the package of Dingtalk_Conversation
reply         构建 .package/reply，第一次会下载约 20 MB
              builds the package of Dingtalk_ChatGPT_Reply; the first time it downloads about 20 MB
check         检查 .env、s.yaml（3.0 是 s.fc3.yaml）和两个代码包，不用账号
              checks .env, s.yaml (on 3.0 s.fc3.yaml) and both packages, without an account
不写 / none   构建两个代码包
              builds both packages
"""
STOPPED = "\n已停止，原来的代码包和 .env 都没有变。 / Stopped: the packages and .env are as they were."
NOT_PERMITTED = """\
没有权限写 {file} 。请把项目放到自己的文件夹里再运行；如果以前用 sudo 运行过，先删除 .package 文件夹。
{file} may not be written. Put the project into a folder of your own; if it ran with sudo before, delete .package."""


def make_parser() -> argparse.ArgumentParser:
    """What may stand behind `python3 -m deploy`."""
    parser = argparse.ArgumentParser(
        prog="python3 -m deploy",
        description="设置、构建并检查要部署的内容。 / Sets up, builds and checks what is deployed.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=["init", *build.FUNCTIONS, "check"], help="见下 / see below")
    parser.add_argument(
        "--fc",
        type=int,
        choices=sorted(environment.TEMPLATES),
        help="函数计算 2.0（check 的默认值）还是 3.0；构建时写上它，就同时检查 .env"
        " / Function Compute 2.0 (the default of check) or 3.0; with a build it also looks at .env",
    )
    parser.add_argument(
        "--zip",
        action="store_true",
        help="再打成 reply.zip 或 conversation.zip，用来在控制台上传"
        " / also makes reply.zip or conversation.zip, to be uploaded in the console",
    )
    return parser


def main() -> int:
    """The exit status: 0, or 1 after a sentence that says what to change."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without Chinese still shows the English sentences
    parser = make_parser()
    arguments = parser.parse_args()
    what = arguments.what
    if what in ("check", "init") and arguments.zip:
        parser.error(f"{what} 不能和 --zip 一起用 / {what} makes no zip file")
    try:
        if what == "init":
            return init.main(arguments.fc)
        if what == "check":
            return check.main(arguments.fc or 2)
        if arguments.fc:
            check.refuse_to_move(arguments.fc)
        for name in [what] if what else build.FUNCTIONS:
            build.build(name)
            if arguments.zip:
                build.pack(name)
            if arguments.fc:
                for problem in check.before_deploying(name, arguments.fc):
                    print(f"注意 / note: {problem}", flush=True)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    except PermissionError as problem:
        print(NOT_PERMITTED.format(file=problem.filename or ""), file=sys.stderr)
        return 1
    except (build.Problem, OSError, subprocess.SubprocessError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
