"""What the pages call things, in Chinese and English; reasons have their words in policy/words.py."""

from gateway.errors import Words

ROLES = {
    "regulator": Words("监管", "regulator"),
    "carrier": Words("运营商", "carrier"),
    "institution": Words("机构", "institution"),
    "agency": Words("代理", "agency"),
    "provider": Words("服务商", "provider"),
    "auditor": Words("审计", "auditor"),
    "admin": Words("管理员", "administrator"),
}
STATES = {
    "draft": Words("草稿", "draft"),
    "submitted": Words("待核验", "submitted"),
    "returned": Words("已退回", "returned"),
    "checked": Words("待批准", "checked"),
    "approved": Words("已批准", "approved"),
    "revoked": Words("已撤销", "revoked"),
    "withdrawn": Words("已注销", "withdrawn"),
    "effective": Words("生效", "effective"),
    "not_yet": Words("未到生效时间", "not yet"),
    "suspended": Words("停用", "suspended"),
    "expired": Words("已过期", "expired"),
}
PURPOSES = {
    "marketing": Words("营销", "marketing"),
    "collection": Words("催收", "collection"),
    "service": Words("服务", "service"),
    "unknown": Words("未知", "unknown"),
}
CHANNELS = {"sms": Words("短信", "SMS"), "voice": Words("语音", "voice")}
EVENTS = {
    "attempt": Words("发送/呼叫", "attempt"),
    "reply": Words("用户回复", "reply"),
    "refusal": Words("拒收", "refusal"),
    "refusal_lifted": Words("拒收解除", "refusal lifted"),
    "consent": Words("同意", "consent"),
    "complaint": Words("投诉", "complaint"),
}
FIELDS = {
    "kind": Words("类型", "Kind"),
    "at": Words("时间", "Time"),
    "id": Words("记录编号", "Record"),
    "verdict": Words("判定", "Verdict"),
    "reason": Words("原因", "Reason"),
    "sub": Words("细目", "Sub-code"),
    "meaning": Words("含义", "Meaning"),
    "number": Words("主叫号码", "Number"),
    "registration": Words("登记号码", "Filing"),
    "subscriber": Words("用户", "Subscriber"),
    "institution": Words("机构", "Institution"),
    "agency": Words("代理", "Agency"),
    "mandate": Words("委托", "Mandate"),
    "purpose": Words("用途", "Purpose"),
    "channel": Words("渠道", "Channel"),
    "region": Words("归属地", "Region"),
    "carrier": Words("运营商", "Carrier"),
    "protocol": Words("协议", "Protocol"),
    "account": Words("接入账号", "Account"),
    "node": Words("节点", "Node"),
    "outcome": Words("运营商应答", "Carrier's answer"),
    "registry_version": Words("登记库版本", "Registry version"),
    "profile": Words("规则版本", "Profile"),
}
