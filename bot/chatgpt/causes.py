"""Why a service refuses, by its code, its words, its status."""

from __future__ import annotations

import re

# Why a service refuses, by the code or type in its answer, in lower case and without signs. Here stand those whose
# words would tell something else, or nothing; most codes are understood by the words that they are made of.
CODES = {
    "insufficientquota": "balance",
    "creditbalanceexhausted": "balance",
    "organizationspendlimitexceeded": "balance",
    "organizationusagelimitexceeded": "balance",
    "projectspendlimitexceeded": "balance",
    "arrearage": "balance",  # Alibaba's Model Studio
    "exceededcurrentquotaerror": "balance",  # Moonshot
    "insufficientuserquota": "balance",  # one-api
    "accountoverdueerror": "balance",  # Volcengine Ark; the limit of the next is one that the account has set itself
    "setlimitexceeded": "balance",
    "customerverificationrequired": "balance",  # Vercel, without a credit card
    "1113": "balance",  # Zhipu, as the other numbers of four digits, but for 1008
    "1309": "balance",
    "1008": "balance",  # MiniMax
    "30011": "balance",  # SiliconFlow
    "throttlingallocationquota": "busy",  # Alibaba's Model Studio: tokens per minute
    "throttlingratequota": "busy",
    "1302": "busy",
    "1303": "busy",
    "1305": "busy",
    "contextlengthexceeded": "long",
    "exceedcontextsizeerror": "long",  # llama.cpp
    "1261": "long",
    "contentfilter": "filtered",
    "datainspectionfailed": "filtered",  # Alibaba's Model Studio
    "1301": "filtered",
    "unsupportedcountryregionterritory": "region",
    "modelnotfound": "model",
    "modelnotopen": "model",  # Volcengine Ark
    "codingplanmodelnotsupported": "model",  # Baidu Qianfan
    "unsupportedmodel": "model",
    "1211": "model",
    "20012": "model",  # SiliconFlow
    "40301": "model",  # FastChat
    "invalidapikey": "key",
    "1004": "key",  # Zhipu and MiniMax
    "11200": "forbidden",  # iFlytek Spark
    "unsupportedparameter": "options",
    "unsupportedvalue": "options",
}
# Else by what its message says, a line at a time, in lower case and without addresses: the first row that is found. The
# order counts: many messages about money speak of limits and rates, many about options name the model.
CAUSE_WORDS = (
    ("forbidden", r"账[户号].{0,12}(违规|封|锁定|禁用|停用)"),
    ("forbidden", r"(account|organization|user).{0,60}\b(locked|banned|deactivated|terminated|been disabled)"),
    ("filtered", r"content.{0,3}(filter|exist|policy|management|moderat|violat|safety|security)|high risk"),
    ("filtered", r"data.?inspection|inappropriate|moderation|(?<!case[ -])sensitive|unsafe|flagged|harmful"),
    ("filtered", r"prohibited.content|censor|nsfw|safety (system|filter|setting|check|polic|reason|guideline)"),
    ("filtered", r"responsible ai|risk (control|detect)|jailbreak"),
    ("filtered", r"(violat|against|blocked by).{0,60}(polic|guideline|terms|safety|rule)|usage (polic|guideline)"),
    ("filtered", r"敏感|不安全|违规|违法|涉黄|涉政|内容.{0,2}(安全|审核|风险)|审核(未|没|不)|安全(策略|审核|检测)"),
    ("filtered", r"不当内容|风控"),
    ("long", r"context[ _-]*(length|window|size|limit|overflow)|context the overflow|n_ctx|range of input length"),
    ("long", r"\b(request|prompt|input|message|body|payload|context)s?\b.{0,60}(too (large|long|big)|longer than)"),
    ("long", r"\b(text|conversation|entity|string|query)s?\b.{0,60}too (large|long|big)|shorter input"),
    ("long", r"超长|过长|太长"),
    ("long", r"(reduce|shorten|decrease).{0,20}(length|size|message|prompt|input|context)"),
    ("long", r"max\w{0,9}[ _](\w{1,20}[ _])?(seq\w{0,9}[ _])?len|(must|should) have less than \d+ tokens"),
    ("busy", r"per[ -](minute|second|min)\b|\b[rt]pm\b|\bq[pm][sm]\b"),
    ("busy", r"每分钟|每秒|频繁|频率|速率|并发|限流|限速|负载|饱和|过载|繁忙|拥挤|访问量|排队|算力"),
    ("balance", r"insufficient.{0,40}(balance|credit|quota|fund|resource package)|arrear|overdue|overdraft|billing"),
    (
        "balance",
        r"(balance|credit|fund)s?\b.{0,60}(insufficient|too low|not enough|exhaust|deplet|run out|used up|negative)",
    ),
    ("balance", r"not enough.{0,20}(balance|credit|money|fund|quota)|(any|no|out of|more|all available) credits"),
    ("balance", r"payment|paid (balance|plan)|credit card|top.?up|recharge|balance.{0,20}required"),
    ("balance", r"key limit exceeded|free.{0,20}per.day|(usage|spend\w{0,9}|credit|cost|inference) limit"),
    ("balance", r"(exceed|reach|hit|over|out of|exhaust|used).{0,40}(quota|credits|budget|allowance|allocation)"),
    ("balance", r"(quota|budget|allowance|allocation).{0,40}(exceed|exhaust|used|reach|deplet|run out|limit)"),
    (
        "balance",
        r"free.?(tier|trial|quota|allocat\w{0,9}|allowance|credit|usage).{0,60}(exhaust|exceed|used|end|expired|over)",
    ),
    ("balance", r"(monthly|daily|weekly|session|hourly)( \w+){0,3} (limit|allocation|quota)"),
    ("balance", r"subscription.{0,30}(expire|inactive|required|frozen)|no (valid|active).{0,20}(subscription|plan)"),
    ("balance", r"余额|欠费|充值|额度|配额|资源包|续费|付费|账单|使用上限|次数限额"),
    ("balance", r"套餐.{0,8}(到期|过期|用完|耗尽|用尽)|免费.{0,8}(用完|耗尽|用尽|到期|结束)"),
    ("region", r"(country|region|territor|location)\w{0,9}.{0,40}(not|n't|un).{0,3}(support|available|allowed)"),
    ("region", r"(not|n't|un).{0,3}(support\w{0,9}|available).{0,20}(country|region|territor|location)"),
    ("region", r"geo.?(block|restrict)"),
    ("region", r"(地区|国家|地域|区域).{0,12}(不支持|不可用|受限|限制|无法)|不支持.{0,12}(地区|国家|地域)"),
    ("vision", r"(not|n't|only|that) (support|accept)\w{0,3}.{0,20}\b(image|vision|multi-?modal)|text-only"),
    ("vision", r"\b(image|vision|multi-?modal)\w*.{0,60}(not|n't|only) support|not a (multi-?modal|vision)"),
    ("vision", r"variant.{0,3}image|item type in content|content\.type"),
    ("vision", r"不支持.{0,8}(图片|图像|视觉|多模态)|(图片|图像|多模态).{0,12}不支持"),
    ("picture", r"(invalid|unsupported|corrupt|fail\w{0,3} to|could not|cannot|unable).{0,30}\bimage"),
    ("picture", r"image_(parse|too|file)"),
    ("picture", r"\bimage\b.{0,40}(invalid|corrupt|too (large|small)|size|format|decod|pars|download)"),
    ("picture", r"(图片|图像).{0,20}(失败|过大|无效)"),
    ("key", r"(api|access|auth\w{0,9}|secret)[ _-]?(key|token).{0,60}(invalid|incorrect|expired|missing|wrong)"),
    (
        "key",
        r"(api|access|auth\w{0,9}|secret)[ _-]?(key|token).{0,60}(not (valid|found|exist|provided)|required|mismatch)",
    ),
    ("key", r"(api|access|auth\w{0,9}|secret)[ _-]?(key|token).{0,60}(revoked|disabled|leaked|no longer)|login fail"),
    (
        "key",
        r"\b(invalid|incorrect|wrong|missing|no|bad|expired|unknown|provide an?)\b.{0,20}(key|token|credentials?)\b",
    ),
    ("key", r"(invalid|no|not|missing)\b.{0,12}(authentica|authorization|signature)|unauthenticated|unauthori[sz]ed"),
    ("key", r"authentica\w{0,5}.{0,30}(fail|invalid|error|required)|failed to authenticate|authorization.{0,9}fail"),
    ("key", r"credentials?\b.{0,30}(invalid|expired|missing)|signature.{0,40}(verif|invalid|match)"),
    ("key", r"\btoken (is )?(invalid|expired)"),
    ("key", r"登录.{0,4}(过期|失效)|(无效|错误|非法|过期|未提供|缺少).{0,3}(密钥|令牌|api.?key|token|认证|鉴权)"),
    (
        "key",
        r"(密钥|令牌|api.?key|\btoken\b|鉴权|认证|身份验证|签名).{0,20}(无效|错误|过期|失效|不存在|未提供|不正确|不可用)",
    ),
    ("key", r"(密钥|令牌|api.?key|\btoken\b|鉴权|(?<!实名)认证|身份验证|签名).{0,20}(非法|失败|禁用|缺失|有误)"),
    ("busy", r"overload|too many (requests|people)|rate.?limit|throttl|capacity|concurren|slow.?down|too frequent"),
    ("busy", r"server.{0,4}busy|retry (after|in|shortly)|try again (in|after) \d|max (request|rpm|tpm)"),
    ("busy", r"unable to handle|resource exhausted|(temporarily|currently) (unavailable|loading)|loading model"),
    ("busy", r"high (traffic|demand|load)"),
    ("long", r"too many (input |prompt )?tokens|(input|prompt|message)s?\b.{0,30}(exceed|length|maximum)"),
    ("long", r"tokens?\b.{0,60}(exceed|must be (<|less)|(greater|larger) than|> ?\d)|exceed.{0,40}tokens?\b"),
    ("long", r"less than \d+ tokens|token count.{0,60}(only|limit|max)"),
    ("long", r"(超过|超出|大于).{0,16}(长度|上下文|字数|token|最大)"),
    ("long", r"(长度|字数|上下文|token|输入|prompt|内容).{0,16}(超过|超出|超限|上限|过大|大于)"),
    ("busy", r"token limit"),
    ("model", r"(invalid|unknown|no such|nonexist\w{1,9}|unrecognized|non-serverless|not support) model"),
    ("model", r"model disabled"),
    (
        "options",
        r"(unsupported|unknown|unrecognized|invalid|unexpected|extra|missing|illegal) .{0,20}(param|argument|field)",
    ),
    (
        "options",
        r"(unsupported|unknown|unrecognized|invalid|unexpected|extra|missing|illegal) .{0,20}(option|propert|input)",
    ),
    ("options", r"(unsupported|unrecognized|invalid|unexpected|missing|illegal|incorrect) .{0,20}(value|keyword|json)"),
    (
        "options",
        r"\b(param\w{0,6}|argument|field|input|value|option)s?\b.{0,60}\bnot? (permit|allow|support|valid|recogni)",
    ),
    ("options", r"\bparam\w{0,6}\b.{0,60}(must|should|required|range|fail|invalid|incorrect|illegal)|field required"),
    ("options", r"does(n't| not) support|range (is|of|should)|enable_thinking|reasoning_effort"),
    ("options", r"max_(completion_|new_)?tokens|temperature|top_p|response_format|tool_choice"),
    ("options", r"参数|字段"),
    (
        "model",
        r"model.{0,100}(not (been )?(exist|found|available|support|open|activat|valid|served|enabled|deployed|loaded))",
    ),
    ("model", r"model.{0,100}(n't (exist|support)|notfound|unknown|unsupported|invalid|decommission|deprecat|retired)"),
    ("model", r"model.{0,100}(no longer|offline|discontinu|shut ?down)|(unsupported|incorrect|found the) model"),
    ("model", r"chat model|no (\w+ ){0,2}(deployment|endpoint|channel|provider|models? loaded)"),
    ("model", r"deployment.{0,60}not (exist|found)|activat\w{1,5} (the |this )?model"),
    ("model", r"access to (the |this )?(requested )?model|try pulling|on-demand throughput|specified model"),
    ("model", r"function .{0,80}not found for account|only (supported|available) in|must be verified"),
    ("model", r"无可用.{0,2}渠道|没有可用.{0,6}(渠道|模型)|暂未开放|模型.{0,30}(未部署|下线|下架|找不到|未找到)"),
    ("model", r"模型.{0,30}(不存在|不可用|不支持|未开通|没有开通|未激活)"),
    ("model", r"(不存在|无效|未知|不支持|找不到|未找到|开通).{0,12}模型"),
    ("model", r"模型(名称?|名字|代码|编码| ?id|标识).{0,6}(错误|有误|无效|不正确)"),
    ("address", r"invalid url|url error|check (the )?url|unknown (url|path|endpoint|route)|no route"),
    ("address", r"cannot (post|get)\b|(page|route) not found|method not allowed|openapi method|no such api"),
    ("address", r"(接口|路径).{0,6}不存在"),
    ("forbidden", r"denied|permission|forbidden|not (allowed|authorized|permitted|entitled)|no.?auth|no access"),
    ("forbidden", r"not active|suspended|banned|blocked|verif\w{1,5} your|real.?name"),
    ("forbidden", r"无权|权限|授权|禁止|封禁|停用|冻结|白名单|网段|实名"),
    ("timeout", r"timed? ?out|timeout|deadline exceeded"),
    ("timeout", r"超时"),
    ("down", r"(internal|server|unknown|upstream|service|system).?error|bad gateway|service.{0,20}unavailable"),
    ("down", r"(内部|系统|服务|网络).{0,4}(错误|异常|不可用)"),
)
# Else by the status, which means little: services use 400, 403, 404 and 429 for nearly everything.
STATUSES = {
    401: "key", 402: "balance", 403: "forbidden", 404: "address", 405: "address", 408: "down", 413: "long", 429: "busy",
}  # fmt: skip


def cause_in(texts: list[str], status: int) -> str | None:
    """The cause of the first pattern in CAUSE_WORDS that is found: 'ModelNotOpen' is read as 'model not open'."""
    text = re.sub(r"https?://\S+", "", "\n".join(texts)[:8000]).replace("’", "'")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    causes = (cause for cause, pattern in CAUSE_WORDS if re.search(pattern, text))
    return next((cause for cause in causes if cause != "timeout" or status < 500), None)
