"""The longer answers of the stand-in model, each in Chinese and English: one for each kind that real models give."""

from __future__ import annotations

import base64
import struct
import zlib

MARKDOWN = (
    """\
## 两数之和

下面的函数返回 **两个数的和**：

```python
def add(a: int, b: int) -> int:
    return a + b


print(add(1, 2))
```

用法：

- 传入两个整数
- 得到它们的和

| a | b | 结果 |
| --- | --- | --- |
| 1 | 2 | 3 |
| 10 | 20 | 30 |

更多内容见 [Python 文档](https://docs.python.org/zh-cn/3/)。""",
    """\
## The sum of two numbers

This function returns **the sum of two numbers**:

```python
def add(a: int, b: int) -> int:
    return a + b


print(add(1, 2))
```

How to use it:

- pass two whole numbers
- get their sum

| a | b | sum |
| --- | --- | --- |
| 1 | 2 | 3 |
| 10 | 20 | 30 |

More is in the [documents of Python](https://docs.python.org/3/).""",
)

STEPS = (
    """\
把一个文件里的数加起来，分三步：

1. 新建文件 `numbers.txt`，每行写一个数：

   ```text
   3
   4.5
   ```

2. 读出每一行，跳过空行：

   ```python
   from pathlib import Path

   lines = Path("numbers.txt").read_text().splitlines()
   numbers = [float(line) for line in lines if line.strip()]
   ```

3. 求和并打印：

   ```python
   print(sum(numbers))  # 7.5
   ```

换成自己的数再试一次，**第 2、3 步不用改**。""",
    """\
Add up the numbers in a file, in three steps:

1. Make a file `numbers.txt` with one number per line:

   ```text
   3
   4.5
   ```

2. Read every line and skip the empty ones:

   ```python
   from pathlib import Path

   lines = Path("numbers.txt").read_text().splitlines()
   numbers = [float(line) for line in lines if line.strip()]
   ```

3. Add them up and print the sum:

   ```python
   print(sum(numbers))  # 7.5
   ```

Try it with numbers of your own: **steps 2 and 3 stay the same**.""",
)

PRICES = (
    """\
这是今天的水果价目表：

| 水果 | 价格 | 产地 |
| --- | ---: | --- |
| 苹果 | 6 元/斤 | 山东 |
| 香蕉 | 4 元/斤 | 海南 |
| **荔枝** | 15 元/斤 | 广东 |

买满 10 斤打九折。""",
    """\
Here is a price list of fruit:

| fruit | price | from |
| --- | ---: | --- |
| apples | 6 yuan | Shandong |
| bananas | 4 yuan | Hainan |
| **lychees** | 15 yuan | Guangdong |

Ten pounds or more are 10 % cheaper.""",
)

NESTED_LIST = (
    """\
周末可以这样安排：

- **星期六**
  - 上午：爬山
    - 带水和帽子
    - 八点在校门口集合
  - 下午：回家休息
- **星期天**
  1. 去图书馆还书
  2. 买下个星期的菜
  3. 早点睡觉""",
    """\
A plan for the weekend:

- **Saturday**
  - morning: a walk in the hills
    - take water and a hat
    - meet at the gate at eight
  - afternoon: rest
- **Sunday**
  1. take the books back to the library
  2. buy food for the week
  3. go to bed early""",
)

QUOTATION = (
    """\
《论语》里有一句：

> 学而时习之，不亦说乎？
>
> 有朋自远方来，不亦乐乎？

意思是：学了以后时常温习，不也很愉快吗？""",
    """\
A well-known one by Confucius:

> Is it not a pleasure to learn something
> and to practise it at the right time?
>
> Is it not a joy when friends come from far away?

It is how the Analects begin.""",
)


def long_answer_in_chinese() -> str:
    """About 9,000 characters: headings, paragraphs, and a code block that is too long for one DingTalk message."""
    chapters = ["# 乘法学习计划\n\n这份计划分九天，每天学一组乘法，最后附上一份可以直接运行的练习程序。"]
    for n in range(1, 10):
        facts = "，".join(f"{n} 乘 {m} 得 {n * m}" for m in range(1, 10))
        chapters.append(
            f"## 第 {n} 天：{n} 的乘法\n\n"
            f"今天学 {n} 的乘法：{facts}。每往后一句，答案就多 {n}，所以忘了哪一句，都可以从前一句推出来。\n\n"
            f"先出声念三遍，再合上书默写一遍，最后请家里人随便抽几句来考。念错了不要紧，把错的那一句单独抄在纸上，"
            f"睡觉前再看一眼，第二天早上往往就记住了。要是 {n} 乘 9 总记不牢，可以先算 {n} 乘 10 得 {n * 10}，"
            f"再减去 {n}，得到 {n * 9}。\n\n"
            f"- 早上：念三遍\n- 中午：默写一遍\n- 晚上：做 {n + 4} 道题，错的题抄下来\n\n"
            f"学完以后想一想，生活里哪里用得到 {n} 的乘法。比如每盒装 {n} 支笔，买 6 盒一共有 {n * 6} 支；"
            f"每天读 {n} 页书，一个星期能读 {n * 7} 页。自己再编两道这样的题，讲给同学听，讲得清楚才算真的学会了。"
            f"最后回头看看前面学过的内容，每天只要十分钟，把旧的和新的混在一起抽查，比一口气背完更容易记牢，也不会觉得枯燥。"
        )
    lines = [
        f"    ({a}, {b}): {a * b},  # {a} × 10 + {a} × {b - 10} = {a * b}" for a in range(11, 21) for b in range(11, 21)
    ]
    program = "\n".join(["PRODUCTS = {", *lines, "}", "", "for (a, b), product in PRODUCTS.items():"])
    chapters.append(f"## 附录：练习程序\n\n```python\n{program}\n    assert a * b == product\n```")
    chapters.append("祝你学习顺利！")
    return "\n\n".join(chapters)


def long_answer_in_english() -> str:
    """As long, and made of the same blocks."""
    chapters = [
        "# A plan for the times tables\n\nNine days, one table a day. At the end there is a program to practise with."
    ]
    for n in range(1, 10):
        facts = ", ".join(f"{n} times {m} is {n * m}" for m in range(1, 10))
        chapters.append(
            f"## Day {n}: the table of {n}\n\n"
            f"Today it is the table of {n}: {facts}. Each answer is {n} more than the one before.\n\n"
            f"Read it aloud three times, close the book and write it down. If {n} times 9 will not stay in your head, "
            f"take {n} times 10, which is {n * 10}, less {n}: {n * 9}.\n\n"
            f"- morning: read it three times\n- noon: write it down\n- evening: {n + 4} sums"
        )
    lines = [
        f"    ({a}, {b}): {a * b},  # {a} × 10 + {a} × {b - 10} = {a * b}" for a in range(11, 21) for b in range(11, 21)
    ]
    program = "\n".join(["PRODUCTS = {", *lines, "}", "", "for (a, b), product in PRODUCTS.items():"])
    chapters.append(f"## Appendix: the program\n\n```python\n{program}\n    assert a * b == product\n```")
    chapters.append("Have fun!")
    return "\n\n".join(chapters)


LONG = (long_answer_in_chinese(), long_answer_in_english())
ENDLESS = tuple("\n\n".join([answer] * 12) for answer in LONG)  # more than the bot sends

# The mark stands between punctuation and words, where no reader takes it for bold.
BOLD = (
    """\
**结论：**适合小团队，理由有三点。

1. **成本低：**不用买服务器，**按量付费。**没人用就不花钱。
2. **易上手（推荐）**的方式是在控制台里上传压缩包。
3. 记住**“先测试，再上线”**这句话，**90%**的问题都能避开。""",
    """\
**"Small teams"**are the ones it suits, for three reasons.

1. **Cheap (pay per use)**means that nothing is paid while nobody asks.
2. **`one command`**deploys it.
3. **90%**of all questions are answered in the documents.""",
)

FORMULA = (
    """\
水的沸点大约是 100 度[^1]，每升高 \\(h\\) 米，沸点大约是：

\\[
T = 100 - \\frac{h}{300}
\\]

所以在 3000 米的地方，水大约 **90 度**就开了[^2]。

[^1]: 在标准大气压下。
[^2]: 这是粗略的估算。""",
    """\
Water boils at about 100 degrees[^1], and at a height of \\(h\\) metres at about:

\\[
T = 100 - \\frac{h}{300}
\\]

So at 3000 metres it boils at about **90 degrees**[^2].

[^1]: At standard pressure.
[^2]: This is a rough estimate.""",
)


def red_disc(size: int = 64) -> bytes:
    """A picture to look at, as PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def colour(x: int, y: int) -> bytes:
        inside = (x - size / 2) ** 2 + (y - size / 2) ** 2 < (size / 2) ** 2
        return b"\xd4\x30\x30" if inside else b"\xff\xff\xff"

    rows = b"".join(b"\0" + b"".join(colour(x, y) for x in range(size)) for y in range(size))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE = base64.b64encode(red_disc()).decode()
PAINTED = (
    f"画好了：\n\n![一个红色的圆](data:image/png;base64,{PICTURE})",
    f"Here it is:\n\n![a red disc](data:image/png;base64,{PICTURE})",
)
