"""Why a service refuses, by its code, its words, its status."""

import re

from bot.words import first_row

# Codes that say more than the words beside them; most codes are made of words. Four digits are Zhipu's, 1008 and 1004
# MiniMax's, 1009 to 1020 Cloudflare's, 20012 and 30011 SiliconFlow's, 40301 FastChat's, 11200 iFlytek's; Alibaba's
# Model Studio throttles by tokens a minute and calls it a quota.
CODES = """
address    1010., 1012., 1020.
balance    1008., 1113., 1309., 30011.
busy       1015., 1302., 1303., 1305., throttling allocation quota, throttling rate quota
filtered   1301.
forbidden  11200.
key        1004.
long       1261.
model      1211., 20012., 40301.
region     1009.
"""
# Else the words decide, see bot.words: the first row that one sentence of theirs has. The order is the point. First
# comes what only one kind of trouble is called; money before keys and rates, because its messages speak of them too;
# last what any trouble may be called: "invalid", "not found", "not allowed".
TABLE = """
address    firewall, anti bot, bot protection, bot detection, virtual network, waf., captcha, browser signature
forbidden  account, organization, user., 账户, 账号 + locked, banned, deactivated, terminated, disabled,
           been restricted, 违规, 封, 锁定, 禁用, 停用
tools      tool use failed, call a function, call a tool, called a tool
filtered   content filter, content policy, content management, content safety, content security, moderation, guardrail,
           censor, data inspection, inappropriate, unsafe, flagged, harmful, prohibited content, nsfw, jailbreak,
           usage polic, usage guideline, safety check, safety system, safety filter, safety setting, responsible ai,
           high risk, exists risk, risk control, 敏感, 不安全, 违规, 违法, 涉黄, 涉政, 内容安全, 内容审核, 内容风险,
           审核未, 审核没, 审核不, 风控, 不当内容, 安全策略, 安全审核
           sensitive - case sensitive
           content, prompt, input, output, entity, keyword, polic, guideline, terms., safety + blocked, violat, reject
           内容 + 拦截, 屏蔽, 过滤
picture    image + invalid, valid., mb., corrupt, format, decod, pars, process, download, too, size., width,
           height - variant, vision
           图片, 图像 + 失败, 过大, 过小, 太大, 太小, 无效, 格式, 尺寸
long       context length, context window, context size, context limit, context overflow, n ctx, 超长, 过长, 太长,
           context the overflow
           request, prompt, input, message, body., payload, context, text., conversation, entity, query + too large,
           too long
           prompt, input, string, content + longer than, shorter, too big
           reduce, shorten, decrease + length, size, message, prompt, input, context
           length + max, must be, exceed, less than, limit, range of
busy       per minute, per second, per min., rpm., tpm., qps., qpm., link token limit, 每分钟, 每秒
balance    arrear, overdue, overdraft, billing, top up, recharge, payment, paid balance, good standing, credit card,
           key limit, usage limit, spend limit, spending limit, inference limit, cost limit, credit limit, 余额, 欠费,
           充值, 额度, 配额, 资源包, 续费, 付费, 账单, 使用上限, 次数限额
           insufficient, not enough, too low, exhaust, deplet, run out, ran out, out of, used up, negative, exceed,
           reached, hit., no., any., more., available, increase, required + balance, credit, quota, fund, budget,
           allowance, allocation, resource package - credential
           monthly, daily, weekly, hourly, session, per day + limit, quota, allocation
           free tier, free trial, free quota, free allocat, free usage + exhaust, exceed, used, end, expired, over.,
           only., limit
           subscription + expire, inactive, required, frozen, no active, no valid, not active
           套餐, 免费, 订阅 + 到期, 过期, 用完, 耗尽, 用尽, 结束
region     country, region, territor, location, geo. + not., unsupported, unavailable, only., restrict, block, denied
           地区, 国家, 地域, 区域 + 不, 无法, 未, 受限, 限制
vision     text only
           image, vision, multimodal, multi modal + not., no., non, only., unsupported, unknown variant
           图片, 图像, 视觉, 多模态 + 不支持
           item type + content
           content type + text, 参数
key        no api key, no auth, auth failure, no credential, bad credential, unauthenticated, login fail,
           no connected db, 登录过期, 登录失效
           api key, access key, secret key, auth key, access token, auth token, credential, authenticat, authorization,
           signature + invalid, incorrect, wrong, missing, expired, unknown, not valid, not found, not exist, provide,
           require, match, revoked, leaked, disabled, no longer, fail, not be verified
           密钥, 令牌, api key, token., 鉴权, 认证, 身份验证, 签名 + 无效, 错误, 过期, 失效, 不存在, 未提供, 不正确,
           不可用, 非法, 失败, 禁用, 缺失, 缺少, 有误 - 实名
           token., key. + invalid, expired, revoked, incorrect, missing, no longer - json, unexpected
busy       overload, too many requests, too many people, rate limit, throttl, capacity, concurren, slow down,
           too frequent, busy., retry after, retry in, retry shortly, try again in, max request, unable to handle,
           resource exhausted, high traffic, high demand, high load, loading model, model is loading,
           currently loading, no deployments available, 频繁, 频率, 速率, 并发, 限流, 限速, 负载, 饱和, 过载, 繁忙,
           拥挤, 访问量, 排队, 算力
           temporarily, currently + unavailable
options    max tokens, max new tokens, completion tokens, output tokens - input, prompt, context, messages
long       token, prompt, input., inputs, messages + exceed, too many, less than, longer, greater than, larger than,
           max, limit
           长度, 上下文, 字数, token, 输入, prompt, 内容, 请求体 + 超过, 超出, 超限, 上限, 过大, 大于
model      invalid model, unknown model, no such model, not found the model, llm provider not, unsupported model,
           unrecognized model, model disabled, model not, non serverless, key model access, team model access,
           user model access, org model access
options    does not support., do not support., 参数, 字段, temperature, top p., response format, tools, tool choice,
           reasoning effort, thinking, web search, max tokens
           parameter, param., params, argument, field., value., propert, keyword, options, inputs + uns, unk,
           unexpected, unrecogni, invalid, extra, missing, illegal, incorrect, not permitted, not allowed, not support,
           not valid, must, should, required, range, fail
           role., roles, instruction + not enabled, not support, only., must, invalid, unexpected
model      model, deployment, function + not exist, not been, not found, not available, not support, not open,
           not activat, not a valid, not valid, not served, not enabled, not deployed, not loaded, not accessible,
           not have access, notfound, no access, unknown, unsupported, invalid, incorrect, decommission, deprecat,
           retired, no longer, offline, discontinu, shut down, try pulling, on demand, must be verified, memory,
           activate - denied
           no. + deployment, endpoint, channel, provider, models loaded
           模型 + 不存在, 不可用, 不支持, 未, 没有, 开通, 下线, 下架, 找不到, 无效, 错误, 有误, 不正确
           渠道 + 无可用, 没有可用
address    can not post, can not get, method not allowed, openapi method, no such api, blocked., 拦截, 阻断
           url., path., page., route., endpoint + invalid, error, check, unknown, no., not found
           接口, 路径 + 不存在, 下线
forbidden  denied, permission, forbidden, not allowed, not authorized, not permitted, not entitled, no access, no auth,
           not active, suspended, banned, verify your, real name, 无权, 权限, 授权, 禁止, 封禁, 停用, 冻结, 白名单,
           网段, 实名
down       bad gateway, timed out, time out, timeout, deadline exceeded, degraded, unexpectedly stopped, 超时
           internal, server, unknown, upstream, service, system + error, unavailable
           内部, 系统, 服务, 网络 + 错误, 异常, 不可用
"""
# Else by the status, which means little: services use 400, 403, 404 and 429 for nearly everything.
STATUSES = {
    401: "key", 402: "balance", 403: "forbidden", 404: "address", 405: "address", 408: "down", 413: "long", 429: "busy",
    446: "filtered", 451: "filtered",
}  # fmt: skip
# What may be had in another way: as events, or with the words of the system before the first question.
WAYS = """
stream     stream + set to true, must be true, only support, only., 只支持, 仅支持
no system  role., roles, system message, system prompt, instruction + not support, not allowed, not enabled, only.,
           must, invalid, uns, unexpected, 不支持
           does not support. + system
"""


def cause_in(texts: list[str]) -> str | None:
    """The cause that texts tell, None if they tell none."""
    cause = first_row(TABLE, texts)
    return "options" if cause == "long" and answer_is_longer(" ".join(texts)) else cause


# How long the question is, and the room for its answer; '12 + 200000 > 200000' names both.
ASKED = re.compile(r"(\d{1,12}) \+ \d{1,12} ?>|(\d{1,12})[^\d,.;()]{0,30}(?:input|prompt|message)")
ROOM = re.compile(
    r"\d{1,12} \+ (\d{1,12}) ?>|max_\w{0,20}tokens\W{0,3}(?:is too large\W{0,3})?(\d{1,12})"
    r"|(\d{1,12})[^\d,.;()]{0,30}(?:completion|output|max_)"
)
ROOM_ONLY = re.compile(r"(?<!and )(?<![+&] )[`'\"]?max_\w{0,20}tokens[`'\"]? (is too|must|should|can ?not)")


def answer_is_longer(text: str) -> bool:
    """Whether not the question is too long, but the room for the answer that CHATGPT_OPTIONS asks for is too large."""
    text = text[:8000].lower()
    asked, room = ASKED.search(text), ROOM.search(text)
    if asked and room:
        return int(next(filter(None, room.groups()))) > int(next(filter(None, asked.groups())))
    return bool(ROOM_ONLY.search(text))
