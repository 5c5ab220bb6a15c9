-- Numbers that nobody may ban, by whatever hand: a wrong prefix must not silence the police.
CREATE TABLE protected_numbers (
    number text PRIMARY KEY CHECK (is_number(number)),
    name   text NOT NULL
);
INSERT INTO protected_numbers (number, name) VALUES
    ('110', '报警'), ('119', '火警'), ('120', '急救'), ('122', '交通事故报警'),
    ('12110', '短信报警'), ('12119', '森林火警'), ('12122', '高速公路救援'), ('12395', '水上搜救'),
    ('12300', '电信用户申诉'), ('12321', '不良与垃圾信息举报'), ('12381', '涉诈预警劝阻短信'), ('96110', '反诈预警劝阻'),
    ('12345', '政务服务便民热线'), ('12315', '消费者投诉举报'), ('12333', '人力资源和社会保障'), ('12348', '法律援助'),
    ('12363', '金融消费权益保护'), ('12366', '纳税服务'), ('12368', '诉讼服务'), ('12377', '网络违法举报'),
    ('12378', '银行保险消费者投诉'), ('12379', '突发事件预警'), ('12386', '证券期货投资者'), ('12388', '纪检监察举报'),
    ('10000', '中国电信'), ('10001', '中国电信'), ('10010', '中国联通'), ('10011', '中国联通'), ('10015', '中国联通'),
    ('10086', '中国移动'), ('10085', '中国移动'), ('10080', '中国移动'), ('10099', '中国广电');

CREATE FUNCTION blacklist_protected() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    covered text;
BEGIN
    SELECT number INTO covered
      FROM protected_numbers
     WHERE CASE WHEN NEW.is_prefix THEN starts_with(number, NEW.number) ELSE number = NEW.number END
     ORDER BY number LIMIT 1;
    IF FOUND AND NEW.removed_at IS NULL THEN
        RAISE EXCEPTION 'blacklist entry % would cover the protected number %', NEW.number, covered
              USING ERRCODE = 'check_violation', CONSTRAINT = 'blacklist_protected', TABLE = 'blacklist',
                    DETAIL = covered;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER blacklist_protected BEFORE INSERT OR UPDATE ON blacklist
    FOR EACH ROW EXECUTE FUNCTION blacklist_protected();
ALTER TABLE blacklist ENABLE ALWAYS TRIGGER blacklist_protected;
